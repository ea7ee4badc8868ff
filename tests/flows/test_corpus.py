"""The corpus flow as a user meets it: the demo from end to end, kills, and full disks."""

import io
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from datasets import Audio, load_dataset

from corpus.embedding.embedder import Embedder
from corpus.run.run_folder import RunFolder
from corpus.store.line_log import read_log
from tests.support.fake_servers import FakeTextServer
from tests.support.line import (
    files_of,
    rows,
    speak_and_pack,
    start,
    sympatheia,
    typed,
    write_recipe,
    write_run,
)
from tests.support.replies import sometimes

FOUR = ("happy", "sad", "tired", "angry")
LESS = (
    *("--set", f"anchors={list(FOUR)}".replace("'", '"')),
    *("--set", "emotional.pairs_per_anchor=1"),
)
"""Of the demo, which shows the same in a third of the time."""


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory):
    """The demo, built by the command line with the embedded text model and the builtin voice."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    done = sympatheia("build", "demo", "--run-dir", folder, *LESS, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return RunFolder(folder), done.stderr


@pytest.fixture(scope="module")
def demo_rows(demo_run):
    run, _ = demo_run
    return {
        (subset, split): load_dataset(str(run.corpus), subset, split=split)
        for subset in ("emotional", "neutral")
        for split in ("train", "eval")
    }


def test_the_demo_has_exactly_the_planned_rows(demo_run, demo_rows):
    run, _ = demo_run
    blueprint = run.blueprint()
    planned = {pair.id: pair for pair in blueprint.plan.pairs()}
    anchors = {anchor.name: anchor for anchor in blueprint.prompts.anchors}
    found = [
        row
        for part in demo_rows.values()
        for row in part.remove_columns(["query_audio", "response_audio"])
    ]
    assert sorted(row["id"] for row in found) == sorted(planned)
    assert len(found) == 12
    for row in found:
        pair = planned[row["id"]]
        anchor = anchors[pair.anchor]
        assert (row["subset"], row["split"]) == (pair.query.subset, pair.query.split)
        assert row["query_id"] == pair.query.id
        assert row["query_emotion"] == pair.query.emotion
        assert row["response_emotion"] == pair.anchor
        assert (row["valence"], row["arousal"]) == (anchor.valence, anchor.arousal)
        assert row["llm_model"] == "SmolLM2-135M-Instruct"
    for (subset, split), part in demo_rows.items():
        assert set(part["subset"]) == {subset}
        assert set(part["split"]) == {split}


def test_every_batch_of_the_demo_is_a_line_of_its_log(demo_run):
    run, _ = demo_run
    lines = read_log(run.log)
    assert [lines[0]["event"], lines[-1]["event"]] == ["build begun", "build done"]
    assert lines[0]["version"] == metadata.version("sympatheia-corpus")
    filled, refused = Counter(), Counter()
    for line in lines:
        assert datetime.fromisoformat(line["time"]).tzinfo
        if line["event"] == "batch":
            filled[line["stage"]] += line["filled"]
            refused.update({(line["stage"], rule): n for rule, n in line["refused"].items()})
    assert filled == {"queries": 6, "responses": 12, "speech": 18, "shards": 12}
    assert refused == Counter((row["stage"], row["reason"]) for row in rows(run.rejects))
    tables = {line["table"]: line["rows"] for line in lines if line["event"] == "table"}
    assert tables["responses"] == 12


def test_the_demo_decodes_as_audio(demo_rows):
    # `datasets` decodes through torchcodec, which needs ffmpeg's libraries on the machine; what it
    # would hand to them is decoded here by libsndfile, so that the test runs anywhere.
    for part in demo_rows.values():
        assert part.features["query_audio"] == Audio(sampling_rate=24_000)
        raw = part.cast_column("query_audio", Audio(decode=False))
        raw = raw.cast_column("response_audio", Audio(decode=False))
        for row in raw:
            for role in ("query", "response"):
                data = row[f"{role}_audio"]["bytes"]
                samples, rate = soundfile.read(io.BytesIO(data))
                assert (samples.ndim, rate) == (1, 24_000)
                assert len(samples) / rate == pytest.approx(row[f"{role}_seconds"], abs=1e-3)
                assert 0.05 < np.abs(samples).max() < 1.0


def test_all_configs_load_and_stream(demo_run):
    run, _ = demo_run
    everything = load_dataset(str(run.corpus))
    assert {name: len(part) for name, part in everything.items()}.keys() == {"train", "eval"}
    assert sum(len(part) for part in everything.values()) == 12
    stream = load_dataset(str(run.corpus), "neutral", split="eval", streaming=True)
    stream = stream.decode(False)  # see test_the_demo_decodes_as_audio
    assert next(iter(stream))["id"].startswith("neutral-")


def test_no_query_of_the_demo_has_a_twin(demo_rows):
    texts = {
        row["query_id"]: row["query_text"]
        for part in demo_rows.values()
        for row in part.remove_columns(["query_audio", "response_audio"])
    }
    assert len(texts) == 6
    vectors = Embedder("sentence-transformers/all-MiniLM-L6-v2").encode(list(texts.values()))
    assert (vectors @ vectors.T - 2 * np.eye(6)).max() <= 0.85


def test_responses_to_a_neutral_query_share_its_split_and_clip(demo_run):
    run, _ = demo_run
    found = [row for path in run.corpus.glob("data/neutral/*.parquet") for row in rows(path)]
    by_query = {}
    for row in found:
        by_query.setdefault(row["query_id"], []).append(row)
    assert len(by_query) == 2
    for group in by_query.values():
        assert len(group) == len(FOUR)
        assert len({row["split"] for row in group}) == 1
        assert len({row["query_audio"]["bytes"] for row in group}) == 1
        assert len({row["response_audio"]["bytes"] for row in group}) == len(FOUR)
    samples, rate = soundfile.read(io.BytesIO(found[0]["query_audio"]["bytes"]))
    assert (samples.ndim, rate) == (1, 24_000)


def test_the_demos_rejects_have_reasons(demo_run):
    run, _ = demo_run
    refused = rows(run.rejects)
    assert refused
    assert all(row["reason"] and row["slot"] for row in refused)
    assert {row["stage"] for row in refused} <= {"queries", "responses", "speech"}


def test_the_demo_told_how_it_got_on(demo_run):
    _, said = demo_run
    for stage, count in (("queries", 6), ("responses", 12), ("speech", 18), ("shards", 12)):
        assert f"{stage}: {count} of {count}" in said
    assert "Traceback" not in said
    assert "Done. The dataset is" in said


def test_a_second_build_of_the_demo_changes_nothing(shared_prefect, demo_run):
    run, _ = demo_run
    before = files_of(run)
    kept = {path: path.stat().st_mtime_ns for path in run.corpus.rglob("*.parquet")}
    done = sympatheia("build", "demo", "--run-dir", run.root, *LESS)
    assert done.returncode == 0, done.stderr
    assert files_of(run) == before
    assert {path: path.stat().st_mtime_ns for path in run.corpus.rglob("*.parquet")} == kept


def test_a_damaged_corpus_is_written_again(demo_run):
    run, _ = demo_run
    before = files_of(run)
    (run.corpus / "README.md").unlink()
    damaged = next(run.corpus.glob("data/neutral/*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-10] + b"0" * 10)
    speak_and_pack(run)
    assert files_of(run) == before


def test_the_card_passes_the_hubs_own_reading(demo_run):
    from huggingface_hub import DatasetCard

    run, _ = demo_run
    card = DatasetCard.load(run.corpus / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert [config["config_name"] for config in card.data.configs] == [
        "default",
        "emotional",
        "neutral",
        "text",
    ]
    assert str(run.root) not in card.content


def test_the_demo_passes_every_gate(demo_run):
    run, _ = demo_run
    done = typed("check", run.root)
    assert done.returncode == 0, done.stdout + done.stderr


# Kills


FEWEST = ("emotional.pairs_per_anchor=2", "neutral.queries=1")


def small(tmp_path, server) -> Path:
    return write_recipe(tmp_path / "small.toml", server.base_url, anchors=("sad", "angry"))


def test_kill_9_costs_what_was_in_flight_and_leaves_no_trace(
    tmp_path, shared_prefect, prefect_url, monkeypatch
):
    with FakeTextServer(latency=0.15) as server:
        server.behave = sometimes(["short", "markdown", "length"], 0.3)
        recipe = small(tmp_path, server)
        settings = (*FEWEST, "llm.concurrency=4")
        options = [part for setting in settings for part in ("--set", setting)]
        whole = write_run(tmp_path / "whole", recipe, *settings)
        speak_and_pack(whole)
        expected = files_of(whole)
        needed = server.count
        server.requests.clear()
        server.count = 0

        run = RunFolder(tmp_path / "run")
        clips: dict[Path, int] = {}
        answered_before = repeated = kills = again = 0

        def texts_reached(count: int) -> bool:
            return server.answered - answered_before >= count

        def clips_reached(count: int) -> bool:
            return len(list(run.store.glob("clips/*/*.flac"))) >= count

        moments = [
            (lambda: texts_reached(3), "a Prefect of its own"),
            (lambda: run.responses.exists(), ""),
            (lambda: clips_reached(5), "a Prefect of its own"),
            (lambda: run.clips.exists(), ""),
            (lambda: (run.root / ".corpus.new").exists() or run.corpus.exists(), ""),
        ]
        for moment, own in moments:
            answered_before = server.answered
            if own:
                monkeypatch.delenv("PREFECT_API_URL")
            command = ("build", recipe, "--run-dir", run.root, *options)
            process = start(*command, log=tmp_path / f"log{kills}")
            monkeypatch.setenv("PREFECT_API_URL", prefect_url)
            deadline = time.monotonic() + 120
            while not moment() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            kills += 1
            _, alive = psutil.wait_procs(children, timeout=15)
            assert alive == [], "a kill left processes behind"
            for path in run.store.glob("clips/*/*.flac"):
                stamp = path.stat().st_mtime_ns
                # One whose file was there before it counted as done was still in flight.
                again += clips.get(path, stamp) != stamp
                clips[path] = stamp
        options += ["--set", "llm.concurrency=9"]
        done = sympatheia("build", recipe, "--run-dir", run.root, *options)
        assert done.returncode == 0, done.stderr
        repeated = server.count - needed
        assert 0 <= repeated <= kills * 4
        assert again <= kills * 2, "finished clips were made again"
        assert files_of(run) == expected


def test_ctrl_c_stops_soon_with_a_sentence(tmp_path):
    with FakeTextServer(latency=1.0) as server:
        recipe = small(tmp_path, server)
        process = start(
            "build",
            recipe,
            "--run-dir",
            tmp_path / "run",
            "--set",
            "llm.concurrency=1",
            log=tmp_path / "log",
        )
        while server.count < 3:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        said = (tmp_path / "log").read_text()
        assert "run the same command again to continue" in said
        assert "Traceback" not in said


def test_a_second_build_in_the_same_folder_is_refused(shared_prefect, tmp_path):
    with FakeTextServer(latency=0.5) as server:
        recipe = small(tmp_path, server)
        first = start(
            "build",
            recipe,
            "--run-dir",
            tmp_path / "run",
            "--set",
            "llm.concurrency=1",
            "--until",
            "responses",
            log=tmp_path / "log",
        )
        while server.count < 1:
            time.sleep(0.05)
        second = typed("build", recipe, "--run-dir", tmp_path / "run")
        assert second.returncode == 1
        assert "Another build is at work in" in second.stderr
        state = typed("status", tmp_path / "run", "--json")
        assert '"building": true' in state.stdout
        server.latency = 0.0
        assert first.wait(timeout=60) == 0


# The build is short of space; the servers it starts keep their files elsewhere and are not.
LIMITED = """
import resource, signal, subprocess, sys
FSIZE = resource.RLIMIT_FSIZE
_, hard = resource.getrlimit(FSIZE)
class Child(subprocess.Popen):
    def __init__(self, *arguments, **options):
        lift = lambda: resource.setrlimit(FSIZE, (hard, hard))
        super().__init__(*arguments, preexec_fn=lift, **options)
subprocess.Popen = Child
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(FSIZE, (int(sys.argv.pop(1)), hard))
from flows.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The files of the small corpus where nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with FakeTextServer() as server:
        run = write_run(folder / "run", small(folder, server))
    speak_and_pack(run)
    return files_of(run)


@pytest.mark.parametrize("limit", [6_000, 60_000])
def test_a_full_disk_ends_the_run_with_a_sentence_and_damages_nothing(
    shared_prefect, tmp_path, limit, undisturbed
):
    # A limit on file size stands for the full disk; it strikes earlier or later in the run.
    with FakeTextServer() as server:
        recipe = small(tmp_path, server)
        run = RunFolder(tmp_path / "run")
        command = [sys.executable, "-c", LIMITED, str(limit), "build", recipe]
        ran = subprocess.run(
            [*command, "--run-dir", run.root],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 1
        assert "The disk is full" in ran.stderr
        assert "Traceback" not in ran.stderr
        asked = {(str(body["messages"]), body["seed"]) for body in server.bodies}
        server.requests.clear()
        speak_and_pack(write_run(run.root, recipe))
        again = {(str(body["messages"]), body["seed"]) for body in server.bodies}
        assert len(asked & again) <= 16  # those whose answers found no room
        assert files_of(run) == undisturbed
