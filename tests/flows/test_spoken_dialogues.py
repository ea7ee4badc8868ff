"""Dialogues whose answers are spoken by how loud the user is, texts and clips side by side."""

import io
import signal
import time
from functools import partial
from hashlib import blake2b

import psutil
import pytest
import soundfile

from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.speech.accepted_texts import AcceptedTexts
from flows import work
from flows.work import at_work
from tests.support.line import (
    SPOKEN,
    SPOKEN_ANCHORS,
    files_of,
    rows,
    start,
    sympatheia,
    write_recipe,
)
from tests.support.voice_server import FakeVoiceServer, hum


class Line(FakeVoiceServer):
    """Writes and speaks, some texts louder than others; `spoken` has what each clip was."""

    def __init__(self, **how):
        super().__init__(**how)
        self.speak = self._loudly
        self.spoken: list[str] = []

    def _loudly(self, item, together):
        self.spoken.append("/".join(str(item[name]) for name in ("input", "voice", "instructions")))
        sound, rate = soundfile.read(io.BytesIO(hum(item)))
        (loud,) = blake2b(item["input"].encode(), digest_size=1).digest()
        file = io.BytesIO()
        soundfile.write(file, sound * (0.25 + loud / 200), rate, format="WAV")
        return file.getvalue()


def settings(server, *more):
    return [
        *SPOKEN,
        "dialogue.dialogues=8",
        "neutral.queries=1",
        'speech.backend="openai"',
        f'speech.endpoints=["{server.base_url}"]',
        'speech.model="hum"',
        "speech.prosody=false",
        "speech.concurrency=4",
        "llm.timeout_seconds=60",
        *more,
    ]


def blueprint(tmp_path, server, *more):
    recipe = write_recipe(tmp_path / "r.toml", server.base_url, SPOKEN_ANCHORS)
    return Blueprint.named(str(recipe), settings(server, *more))


def build(folder, made):
    run = RunFolder(folder)
    with at_work(run, made, "shards") as running:
        running.texts()
        running.speak()
        running.pack()
    return run


@pytest.fixture
def server():
    with Line() as running:
        yield running


@pytest.fixture(scope="module")
def one_after_the_other(tmp_path_factory, one_embedder):
    """A run whose voice waits until all texts are written, and what was asked for its clips."""
    folder = tmp_path_factory.mktemp("after")
    with Line() as server:
        run = build(folder / "run", blueprint(folder, server, "speech.after_texts=true"))
        return run, list(server.spoken)


def test_they_are_answered_in_all_three_ways(one_after_the_other):
    run, spoken = one_after_the_other
    ways = {said.rpartition("/")[2] for said in spoken if "/heron/" in said}
    deliveries = Blueprint.of(run.read_recipe()).prompts.trajectory_file.deliveries
    for one in (deliveries.falling, deliveries.rising, deliveries.steady):
        assert f"{one.style}." in ways


@pytest.mark.parametrize("room", [4096, 2])
def test_side_by_side_they_come_out_the_same_with_nothing_in_vain(
    tmp_path, server, one_after_the_other, monkeypatch, room
):
    monkeypatch.setattr(work, "AcceptedTexts", partial(AcceptedTexts, room=room))
    server.seconds = 0.05
    run = build(tmp_path / "run", blueprint(tmp_path, server))
    expected, spoken = one_after_the_other
    assert sorted(server.spoken) == sorted(spoken)
    assert files_of(run) == files_of(expected)


def test_killed_in_the_midst_they_go_on_to_the_same(tmp_path, server, one_after_the_other):
    run, server.seconds = RunFolder(tmp_path / "run"), 0.1
    blueprint(tmp_path, server)
    options = [part for setting in settings(server) for part in ("--set", setting)]
    command = ["build", tmp_path / "r.toml", "--run-dir", run.root, *options]
    log = tmp_path / "log"
    process = start(*command, log=log)
    while len(server.spoken) < 20:
        assert process.poll() is None, log.read_text()
        time.sleep(0.005)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -9
    assert psutil.wait_procs(children, timeout=15)[1] == []
    done = sympatheia(*command)
    assert done.returncode == 0, done.stderr
    expected, spoken = one_after_the_other
    assert files_of(run) == files_of(expected)
    assert len(server.spoken) <= len(spoken) + 4
    assert len(rows(run.clips)) == len(spoken)
