"""A run that starts vLLM for itself. What stands in for it speaks its protocol; the real one is in
`tests/vllm`."""

import json
import sys
import time
from pathlib import Path

import psutil
import pytest

from corpus.run.run_folder import RunFolder
from corpus.voices import vllm_environment
from flows.services.text_servers import vllm_server
from schemas.recipe_llm import Vllm
from tests.support.line import start, sympatheia, typed, write_recipe

pytestmark = pytest.mark.usefixtures("shared_prefect")

ROOT = Path(__file__).resolve().parents[2]

INTERPRETER = """#!{python}
import json, subprocess, sys
arguments = sys.argv[1:]
with open({arguments!r}, "w") as file:
    json.dump(arguments, file)
if "--broken" in arguments:
    sys.exit("RuntimeError: no kernel image is available for execution on the device")
sys.path.insert(0, {root!r})
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
from tests.support.fake_servers import main
sys.argv[1:] = ["--port", arguments[arguments.index("--port") + 1], "--latency", {latency!r}]
main()
"""


@pytest.fixture
def build(tmp_path):
    """Runs or starts a build whose vLLM is a program of ours; gives its run folder too."""
    recipe = write_recipe(tmp_path / "small.toml", "http://unused")
    recipe.write_text(recipe.read_text().replace('endpoints = ["http://unused"]\n', ""))
    run = RunFolder(tmp_path / "run")

    def command(*more, latency=0.0):
        program = tmp_path / "python"
        made = INTERPRETER.format(
            python=sys.executable,
            root=str(ROOT),
            arguments=str(tmp_path / "arguments"),
            latency=str(latency),
        )
        program.write_text(made)
        program.chmod(0o755)
        settings = (f'llm.vllm.python="{program}"', *more)
        options = [part for setting in settings for part in ("--set", setting)]
        return ["build", recipe, "--run-dir", run.root, "--until", "responses", *options]

    return run, command


def servers_of(tmp_path):
    """Processes that came out of the program, workers included."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if str(tmp_path / "python") in line or (
            process.ppid() and str(tmp_path / "python") in _line_of(process.ppid())
        ):
            found.append(process)
    return found


def _line_of(pid):
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def test_it_gets_the_model_and_arguments_and_is_there_for_the_texts_alone(tmp_path, build):
    run, command = build
    asked = command('llm.vllm.arguments=["--max-model-len", "8192"]')
    done = sympatheia(*asked)
    assert done.returncode == 0, done.stderr
    assert "a vLLM of its own" in done.stderr
    arguments = json.loads((tmp_path / "arguments").read_text())
    assert arguments[:2] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert arguments[arguments.index("--model") + 1] == "fake"
    assert arguments[-2:] == ["--max-model-len", "8192"]
    assert run.responses.exists()
    assert servers_of(tmp_path) == []

    # A run with nothing to ask starts none.
    (tmp_path / "arguments").unlink()
    assert sympatheia(*asked).returncode == 0
    assert not (tmp_path / "arguments").exists()


def test_where_no_python_is_named_that_of_the_project_s_own_environment_is_started(
    tmp_path, build, monkeypatch
):
    _, command = build
    command()  # writes the program
    monkeypatch.setattr(vllm_environment, "MADE", tmp_path / "python")
    with vllm_server("fake", Vllm(start=True), tmp_path / "log") as address:
        assert address.startswith("http://127.0.0.1:")
        assert servers_of(tmp_path)
    assert servers_of(tmp_path) == []


def test_it_ends_with_a_run_that_is_killed(tmp_path, build):
    _, command = build
    process = start(*command(latency=3600), log=tmp_path / "log")
    deadline = time.monotonic() + 60
    while len(servers_of(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    left = servers_of(tmp_path)
    assert len(left) == 3  # our supervisor, the server and its worker
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(left, timeout=15)
    assert alive == []


def test_one_that_dies_in_mid_run_is_started_again_and_waited_for(tmp_path, build):
    run, command = build
    process = start(*command(latency=0.5), log=tmp_path / "log")
    deadline = time.monotonic() + 120
    while not run.store.exists() or not [*run.store.glob("completions/*")]:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    server = next(one for one in servers_of(tmp_path) if "vllm.entrypoints" in str(one.cmdline()))
    server.kill()
    assert process.wait(180) == 0, (tmp_path / "log").read_text()
    assert "vllm server of this run has ended (exit code 1) and is started" in (
        (tmp_path / "log").read_text()
    )
    assert servers_of(tmp_path) == []


def test_one_that_does_not_come_up_is_a_sentence_with_its_last_words(tmp_path, build):
    run, command = build
    done = sympatheia(*command('llm.vllm.arguments=["--broken"]'))
    assert done.returncode == 1
    assert "vllm server of this run did not come up: RuntimeError: no kernel" in done.stderr, (
        done.stderr
    )
    assert str(run.vllm_log) in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interpreter_that_is_not_there_is_a_sentence(tmp_path, build):
    _, command = build
    done = sympatheia(*command('llm.vllm.python="/nowhere/python"'))
    assert done.returncode == 1
    assert "did not come up: FileNotFoundError" in done.stderr
    assert "/nowhere/python" in done.stderr


def test_endpoints_and_a_vllm_of_its_own_exclude_each_other(build):
    _, command = build
    done = typed(*command('llm.endpoints=["http://localhost:8000/v1"]'))
    assert done.returncode == 2
    assert "llm.endpoints and llm.vllm.python are both given" in done.stderr
