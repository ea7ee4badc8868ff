"""SIGTERM and SIGHUP, with which schedulers and terminals end a job, and pipes that close."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from corpus.run.run_folder import RunFolder
from corpus.store.line_log import read_log
from tests.support.fake_servers import FakeTextServer
from tests.support.line import (
    SYMPATHEIA,
    files_of,
    speak_and_pack,
    start,
    typed,
    write_recipe,
    write_run,
)
from tests.support.replies import hang

GRACE = 60
"""Seconds that a stop may take here; on a quiet machine it takes one or two."""
SHAPE = ("emotional.pairs_per_anchor=3", "neutral.queries=1", "llm.concurrency=4")


def until(condition, process):
    deadline = time.monotonic() + 180
    while not condition():
        assert process.poll() is None, "it ended before its time"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def begin(tmp_path, server, *more):
    recipe = write_recipe(tmp_path / "small.toml", server.base_url, anchors=("sad",))
    options = [part for setting in (*SHAPE, *more) for part in ("--set", setting)]
    run = RunFolder(tmp_path / "run")
    return run, start("build", recipe, "--run-dir", run.root, *options, log=tmp_path / "log")


def stop(tmp_path, run, process, number, *others):
    """Sends a signal to a build and sees that it ends as it should."""
    children = psutil.Process(process.pid).children(recursive=True)
    for child in others and children:
        child.send_signal(number)
    process.send_signal(number)
    assert process.wait(GRACE) == 128 + number, (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text()
    assert said.count("run the same command again to continue") == 1
    assert "Error" not in said
    _, alive = psutil.wait_procs(children, timeout=15)
    assert alive == []
    assert not run.busy
    if run.log.exists():
        assert [line["event"] for line in read_log(run.log)][-1] == "build stopped"


def test_a_build_is_stopped_in_each_stage_and_continued_to_the_same_files(
    tmp_path, shared_prefect, prefect_url, monkeypatch
):
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "small.toml", server.base_url, anchors=("sad",))
        whole = write_run(tmp_path / "whole", recipe, *SHAPE)
        speak_and_pack(whole)
        needed = server.count

        server.latency = 0.3
        run, process = begin(tmp_path, server)
        until(lambda: server.answered >= needed + 2, process)
        stop(tmp_path, run, process, signal.SIGTERM)
        server.latency = 0.0

        def spoken() -> int:
            return len([*run.store.glob("clips/*/*.flac")])

        moments = (
            (lambda: spoken() >= 2, signal.SIGHUP, ()),
            (lambda: spoken() >= 5, signal.SIGTERM, ("all",)),
            (lambda: run.clips.exists(), signal.SIGTERM, ()),
        )
        for reached, number, everyone in moments:
            if everyone:  # its own Prefect server among them
                monkeypatch.delenv("PREFECT_API_URL")
            _, process = begin(tmp_path, server)
            monkeypatch.setenv("PREFECT_API_URL", prefect_url)
            until(reached, process)
            stop(tmp_path, run, process, number, *everyone)
        run, process = begin(tmp_path, server)
        assert process.wait(180) == 0, (tmp_path / "log").read_text()
        assert files_of(run) == files_of(whole)
        assert server.count - 2 * needed <= 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_build_that_waits_for_answers_lets_go_of_them(tmp_path, number):
    with FakeTextServer(behave=lambda body, n: hang) as server:
        run, process = begin(tmp_path, server, "llm.timeout_seconds=300")
        until(lambda: server.in_flight >= 4, process)
        stop(tmp_path, run, process, number)


IN_MID_IMPORT = """
import os, signal, sys
class Part:  # where Python makes a RuntimeError of an interrupt, and Prefect catches it
    def __set_name__(self, *_):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass
class Stops:
    def find_spec(self, name, *_):
        if name == "prefect.context":
            type("Whole", (), {"part": Part()})
sys.meta_path.insert(0, Stops())
from flows.cli.main import main
main()
"""


def test_a_stop_while_prefect_is_imported_leaves_no_trace(shared_prefect, tmp_path):
    recipe = write_recipe(tmp_path / "small.toml", "http://127.0.0.1:9/v1")
    build = ["build", recipe, "--run-dir", tmp_path / "run", "--until", "plan"]
    command = [sys.executable, "-c", IN_MID_IMPORT, *build]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 143, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("run the same command again to continue") == 1


SWALLOWS = """
import sys, time
from flows import surroundings
from flows.cli import main
surroundings.GRACE_SECONDS = 0.5
def swallow():
    while True:
        try:
            sys.stderr.write("ready\\n")
            time.sleep(60)
        except KeyboardInterrupt:
            pass
with surroundings.stoppable(at_last=main._end_stopped):
    swallow()
"""


def test_who_swallows_the_interrupt_is_stopped_all_the_same():
    process = subprocess.Popen([sys.executable, "-c", SWALLOWS], stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "ready\n"
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "run the same command again" in said


def test_a_build_under_nohup_outlives_its_terminal(shared_prefect, tmp_path):
    with FakeTextServer(latency=0.2) as server:
        recipe = write_recipe(tmp_path / "small.toml", server.base_url, anchors=("sad",))
        run = RunFolder(tmp_path / "run")
        command = ["nohup", SYMPATHEIA, "build", recipe, "--run-dir", run.root]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--until", "queries"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: server.answered >= 2, process)
        process.send_signal(signal.SIGHUP)
        assert process.wait(180) == 0, (tmp_path / "log").read_text()


def into_a_closed_pipe(*arguments, stream):
    """Runs the command line with an output that nobody reads; gives its exit code."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        outputs = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: writing}
        done = subprocess.run([SYMPATHEIA, *map(str, arguments)], timeout=180, **outputs)
    finally:
        os.close(writing)
    return done.returncode


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_goes_away_is_no_failure(whole, more):
    assert into_a_closed_pipe("status", whole, *more, stream="stdout") == 0


def test_a_build_goes_on_when_nobody_reads_what_it_says(shared_prefect, tmp_path):
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "small.toml", server.base_url, anchors=("sad",))
        run = tmp_path / "run"
        command = ("build", recipe, "--run-dir", run, "--until", "queries")
        assert into_a_closed_pipe(*command, stream="stderr") == 0
    state = json.loads(typed("status", run, "--json").stdout)
    assert state["stages"]["queries"]["done"] == state["stages"]["queries"]["total"] > 0


def test_an_output_that_is_closed_is_no_failure(whole):
    shell = f"{SYMPATHEIA} status {whole} >&- 2>&-"
    assert subprocess.run(["sh", "-c", shell], timeout=180).returncode == 0


def test_an_output_on_a_full_disk_is_a_failure(whole):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run([SYMPATHEIA, "status", whole], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"disk is full" in done.stderr
