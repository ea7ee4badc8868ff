"""Texts that are spoken as soon as they are accepted: the same corpus, sooner."""

import asyncio
import signal
import time
from functools import partial

import psutil
import pytest

from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.servers import retry_and_failover
from corpus.speech.accepted_texts import AcceptedTexts
from corpus.store.line_log import read_log
from flows import work
from flows.cli.status_tables import read_status
from flows.work import at_work
from tests.support.line import files_of, start, sympatheia, write_recipe
from tests.support.replies import completion, good_text, kind_of
from tests.support.voice_server import FakeVoiceServer, hum

TEXTS = 14 + 11
"""Responses and queries of the recipe of these tests, each of which is spoken."""


class Line(FakeVoiceServer):
    """Writes and speaks.

    `spoken` has what was asked for of each clip, `instead` is what comes in its place. With
    `clips_first` no response is given until so many clips were asked for.
    """

    def __init__(self, **how):
        super().__init__(**how)
        self.speak, self.behave = self._hum, self._write
        self.spoken: list[str] = []
        self.instead: bytes | None = None
        self.clips_first = 0

    def _hum(self, item, together):
        self.spoken.append(item["input"] + item["voice"])
        return self.instead or hum(item)

    def _write(self, body, n):
        return self._in_time if kind_of(body) == "response" else None

    async def _in_time(self, request):
        while len(self.spoken) < self.clips_first:
            await asyncio.sleep(0.01)
        body = await request.json()
        return completion(good_text(body, "response"))


def settings(server, *more):
    return [
        'speech.backend="openai"',
        f'speech.endpoints=["{server.base_url}"]',
        'speech.model="hum"',
        "speech.prosody=false",
        "speech.concurrency=4",
        "llm.concurrency=2",
        "llm.timeout_seconds=60",
        *more,
    ]


def blueprint(tmp_path, server, *more):
    recipe = write_recipe(tmp_path / "r.toml", server.base_url, anchors=("sad", "angry"))
    return Blueprint.named(str(recipe), settings(server, *more))


def build(folder, made):
    run = RunFolder(folder)
    with at_work(run, made, "shards") as running:
        finish(running)
    return run


def finish(running):
    running.texts()
    running.speak()
    if running.until == "shards":
        running.pack()


@pytest.fixture(scope="module")
def one_after_the_other(tmp_path_factory, one_embedder):
    """The files of a run whose voice waits until all texts are written."""
    folder = tmp_path_factory.mktemp("after")
    with Line() as server:
        run = build(folder / "run", blueprint(folder, server, "speech.after_texts=true"))
    return files_of(run)


@pytest.fixture
def server():
    with Line() as running:
        yield running


def test_a_text_is_spoken_as_soon_as_it_is_accepted_and_the_files_are_the_same(
    tmp_path, server, one_after_the_other
):
    server.clips_first = 5  # of queries, then
    run = build(tmp_path / "run", blueprint(tmp_path, server))
    assert len(set(server.spoken)) == len(server.spoken) == TEXTS  # none in vain
    assert files_of(run) == one_after_the_other


def test_progress_and_status_show_both_at_work(tmp_path, server):
    run, server.clips_first = RunFolder(tmp_path / "run"), TEXTS
    with at_work(run, blueprint(tmp_path, server), "speech") as running:
        running.begin()
        while running.run.progress.stages["speech"].done < 11:
            time.sleep(0.005)
        running.run.progress.write()
        told = read_status(run)
        assert told["building"]
        assert set(told["servers"]) == {"llm", "speech"}
        assert {name: stage["done"] for name, stage in told["stages"].items()} == {
            "queries": 11,
            "responses": 0,
            "speech": 11,
        }
        server.clips_first = 0
        finish(running)


def test_a_voice_that_lags_holds_up_nobody_and_no_more_than_its_room_waits(
    tmp_path, server, one_after_the_other, monkeypatch
):
    monkeypatch.setattr(work, "AcceptedTexts", partial(AcceptedTexts, room=3))
    server.seconds = 0.5
    run, most = RunFolder(tmp_path / "run"), 0
    with at_work(run, blueprint(tmp_path, server), "shards") as running:
        running.begin()
        while not running._accepted.ended:
            most = max(most, len(running._accepted))
            time.sleep(0.001)
        finish(running)
    assert most == 3
    assert len(server.spoken) == TEXTS
    assert files_of(run) == one_after_the_other


def test_what_finds_no_room_is_left_out():
    waiting = AcceptedTexts(str.upper, room=2)
    for digest in "abc":
        waiting.put(digest, digest)
    assert [waiting.take(), waiting.take(), waiting.take()] == [("a", "A"), ("b", "B"), None]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_stop_in_the_midst_costs_what_was_in_flight_and_leaves_no_trace(
    tmp_path, server, one_after_the_other, number, code
):
    run, server.clips_first = RunFolder(tmp_path / "run"), 6
    blueprint(tmp_path, server)
    options = [part for setting in settings(server) for part in ("--set", setting)]
    command = ["build", tmp_path / "r.toml", "--run-dir", run.root, *options]
    log = tmp_path / "log"
    for _ in range(2):
        enough = len(server.spoken) + 4
        process = start(*command, log=log)
        while len(server.spoken) < enough:
            assert process.poll() is None, log.read_text()
            time.sleep(0.005)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(60) == code, log.read_text()
        assert psutil.wait_procs(children, timeout=15)[1] == []
        assert not run.busy
        if code > 0:
            assert log.read_text().count("run the same command again to continue") == 1
            assert "Traceback" not in log.read_text()
    done = sympatheia(*command)
    assert done.returncode == 0, done.stderr
    assert files_of(run) == one_after_the_other
    assert len(server.spoken) <= TEXTS + 2 * 4


# A voice that fails


def test_a_speech_server_that_is_down_does_not_stop_the_texts_and_is_tried_once_more(
    tmp_path, server, one_after_the_other, monkeypatch
):
    monkeypatch.setattr(retry_and_failover, "FIRST_ANSWER_SECONDS", 0.1)
    run, server.clips_first = RunFolder(tmp_path / "run"), 1
    with Line() as down:
        pass
    made = blueprint(tmp_path, server, f'speech.endpoints=["{down.base_url}"]')
    with at_work(run, made, "shards") as running:
        running.begin()
        while not warned(run):
            time.sleep(0.01)
        assert not running._accepted.ended
        with down:
            server.clips_first = 0
            finish(running)
            assert len(down.spoken) == TEXTS
    assert "is tried once more" in warned(run)[0]
    assert files_of(run) == one_after_the_other

    other = RunFolder(tmp_path / "other")
    with (
        pytest.raises(SympatheiaError, match="No server answers at"),
        at_work(other, made, "speech") as running,
    ):
        finish(running)
    assert other.responses.exists()


def test_a_voice_that_one_rule_refuses_is_told_of_at_once_and_stops_the_build_after_the_texts(
    tmp_path, server
):
    server.instead = b"no sound at all"
    server.clips_first = 24
    run = RunFolder(tmp_path / "run")
    with (
        pytest.raises(SympatheiaError, match="undecodable refused 24 of the first 24 clips"),
        at_work(run, blueprint(tmp_path, server), "shards") as running,
    ):
        running.begin()
        while not warned(run):
            time.sleep(0.01)
        assert not running._accepted.ended
        server.clips_first = 0
        finish(running)
    assert "then the build stops" in warned(run)[0]
    assert run.responses.exists()
    assert len(server.spoken) <= 24 + 4
    asked = server.answered
    server.instead = None
    build(run.root, blueprint(tmp_path, server, "speech.max_attempts=5"))
    assert server.answered == asked


def test_a_limit_stops_both_and_counts_what_both_asked(tmp_path, server):
    limit, server.clips_first = 20, 3
    run = RunFolder(tmp_path / "run")
    with (
        pytest.raises(SympatheiaError, match=r"limits\.requests is reached: the run has used 20"),
        at_work(run, blueprint(tmp_path, server, f"limits.requests={limit}"), "shards") as running,
    ):
        finish(running)
    assert server.answered + len(server.spoken) == limit
    assert server.spoken


def warned(run):
    """What the log says of a voice that has stopped before the texts."""
    return [line["event"] for line in read_log(run.log) if "to their end" in line["event"]]
