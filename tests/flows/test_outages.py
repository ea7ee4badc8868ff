"""Text runs from the command line whose servers die, return, hang up and repeat secrets."""

import json
import signal
import time
from collections import Counter

import pytest

from corpus.run.run_folder import RunFolder
from corpus.store.line_log import read_log
from tests.support.fake_servers import FakeTextServer
from tests.support.line import rows, start, sympatheia, typed, write_recipe, write_run
from tests.support.replies import hang, sometimes, status

pytestmark = pytest.mark.usefixtures("shared_prefect")

IN_FLIGHT = 12
SIZE = (
    f"llm.concurrency={IN_FLIGHT}",
    "emotional.pairs_per_anchor=30",
    "neutral.queries=8",
    "llm.patience_seconds=300",
)
TABLES = ("queries", "responses", "rejects")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The tables of the run that the tests disturb, as they should come out."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with FakeTextServer() as server:
        recipe = write_recipe(folder / "small.toml", server.base_url)
        run = write_run(folder / "run", recipe, *SIZE)
    return {name: getattr(run, name).read_bytes() for name in TABLES}


def begin(tmp_path, *servers, settings=SIZE):
    recipe = write_recipe(tmp_path / "small.toml", servers[0].base_url)
    urls = ", ".join(f'"{server.base_url}"' for server in servers)
    options = [
        part for setting in (*settings, f"llm.endpoints=[{urls}]") for part in ("--set", setting)
    ]
    run = RunFolder(tmp_path / "run")
    command = ["build", recipe, "--run-dir", run.root, "--until", "responses", *options]
    return run, start(*command, log=tmp_path / "log")


def until(condition):
    while not condition():
        time.sleep(0.01)


def finished(tmp_path, process, timeout=120):
    assert process.wait(timeout) == 0, (tmp_path / "log").read_text()


def asked_again(*servers):
    """How many requests were made more than once, of all that reached any of the servers."""
    asked = Counter(
        (str(body["messages"]), body["seed"]) for server in servers for body in server.bodies
    )
    return sum(count - 1 for count in asked.values())


def test_all_servers_go_and_come_back_soon_and_late(tmp_path, undisturbed):
    with FakeTextServer(latency=0.1) as one, FakeTextServer(latency=0.1) as other:
        run, process = begin(tmp_path, one, other)
        # After 15 s the waits between tries have long been as long as they get.
        for count, seconds_down in ((60, 2), (120, 15)):
            until(lambda count=count: one.count + other.count >= count)
            one.stop()
            other.stop()
            time.sleep(seconds_down)
            assert process.poll() is None
            one.start()
            other.start()
        finished(tmp_path, process)
        assert asked_again(one, other) <= 2 * IN_FLIGHT
        assert {name: getattr(run, name).read_bytes() for name in TABLES} == undisturbed


def test_the_status_knows_servers_cells_and_cost(tmp_path):
    settings = ("emotional.pairs_per_anchor=10", "neutral.queries=4", "llm.gpus=4")
    with FakeTextServer() as one, FakeTextServer() as other:
        one.behave = sometimes(["short"], 0.3)
        run, process = begin(tmp_path, one, other, settings=settings)
        finished(tmp_path, process)
        state = json.loads(typed("status", run.root, "--json").stdout)
        found = {endpoint["url"]: endpoint for endpoint in state["servers"]["llm"]["endpoints"]}
        assert {url: found[url]["done"] for url in found} == {
            server.base_url: server.count for server in (one, other)
        }
        assert all(endpoint["completion_tokens"] > 100 for endpoint in found.values())
        seconds = state["servers"]["llm"]["seconds"]
        assert state["servers"]["llm"]["gpu_hours"] == pytest.approx(4 * seconds / 3600)
        stages = state["stages"]
        assert len(rows(run.rejects)) > 5
        for stage in ("queries", "responses"):
            counted = sum(cell["refused"] for cell in stages[stage]["cells"].values())
            assert counted == sum(row["stage"] == stage for row in rows(run.rejects))

        # A build that finds all done knows of every refusal and takes no server's time.
        finished(tmp_path, begin(tmp_path, one, other, settings=settings)[1])
        again = json.loads(typed("status", run.root, "--json").stdout)
        assert again["stages"] == stages
        assert again["servers"]["llm"]["seconds"] == seconds
        shown = typed("status", run.root).stdout
        assert "GPU-hours" in shown
        assert one.base_url in shown


def test_one_of_three_servers_dies_for_good(tmp_path, undisturbed):
    with (
        FakeTextServer(latency=0.1) as one,
        FakeTextServer(latency=0.1) as two,
        FakeTextServer(latency=0.1) as dies,
    ):
        run, process = begin(tmp_path, one, dies, two)
        until(lambda: dies.count >= 20)
        before = one.count + two.count
        dies.stop()
        finished(tmp_path, process)
        dies.start()
        assert one.count + two.count > before + 50
        assert asked_again(one, two, dies) <= IN_FLIGHT
        assert {name: getattr(run, name).read_bytes() for name in TABLES} == undisturbed
        lines = [line for line in read_log(run.log) if line["event"] == "try failed"]
        assert {line["server"] for line in lines} == {dies.base_url}
        assert all(line["error"] for line in lines)
        assert f"{dies.base_url} is out: " in "".join(line["event"] for line in read_log(run.log))


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_lets_go_of_slow_requests_with_a_sentence(tmp_path, times):
    with FakeTextServer() as server:
        server.behave = lambda body, n: None if n < 40 else hang
        _, process = begin(tmp_path, server)
        until(lambda: server.in_flight >= IN_FLIGHT)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130  # how long it takes: benchmarks/text_run.py
        said = (tmp_path / "log").read_text()
        assert said.count("run the same command again to continue") == 1
        assert "Traceback" not in said
        kept = server.count - IN_FLIGHT
        server.behave = lambda body, n: None
        finished(tmp_path, begin(tmp_path, server)[1])
        assert asked_again(server) <= IN_FLIGHT
        assert kept >= 28


SECRET = "sk-live-91c2e7d5a0"


def test_no_secret_is_left_anywhere(tmp_path):
    repeats = f"the key {SECRET} is over its limit"
    with FakeTextServer() as server:
        server.behave = lambda body, n: status(500, repeats) if n % 9 == 0 else None
        recipe = write_recipe(tmp_path / "small.toml", server.base_url)
        options = ["--until", "responses", "--run-dir", tmp_path / "run"]
        options += ["--set", 'llm.api_key_env="TEXT_KEY"']
        done = sympatheia("build", recipe, *options, TEXT_KEY=SECRET)
        assert done.returncode == 0, done.stderr
        assert {received.authorization for received in server.requests} == {f"Bearer {SECRET}"}
        shown = typed("status", tmp_path / "run", "--json")
        server.behave = lambda body, n: status(403, repeats)
        more = ["--set", "emotional.pairs_per_anchor=5"]
        refused = sympatheia("build", recipe, *options, *more, TEXT_KEY=SECRET)
        assert refused.returncode == 1
        assert "TEXT_KEY" in refused.stderr
        traced = sympatheia("--debug", "build", recipe, *options, *more, TEXT_KEY=SECRET)
        assert "Traceback" in traced.stderr
    for said in (done, shown, refused, traced):
        assert SECRET not in said.stdout + said.stderr
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
