"""The dataset at full size: shards, gates and report of 18,000 pairs.

- `packing`: 18,000 pairs whose clips are noise of 5 s (queries) and 18 s (responses), so that
  nothing can be compressed: `corpus.dataset.shard_writer` beside `datasets`' own Parquet writer on
  the same rows, in turn, each in a process of its own; seconds, peak memory, bytes.
- `streaming`: seconds until `load_dataset(..., streaming=True)` gives the first row of ours.
- `run`: a run kept by `benchmarks.speech_run --keep FOLDER`, packed, checked and reported on by the
  command line; seconds and peak memory of each, the gates that fail, the size of the page and how
  long a headless browser takes to open it. `check_again` is the same check once more, which
  remembers every shard.

Memory is that of all processes together, shared pages counted once.

Run it on a quiet machine with 50 GB of disk to spare. About 40 minutes on two cores.

    .venv/bin/python -m benchmarks.dataset_run FOLDER

The figures go to `dataset_run.json` beside this file.
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from corpus.dataset.shard_writer import corpus_rows, write_corpus
from corpus.run.open_run import OpenRun
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import read_rows, write_table
from corpus.sound.clip_audio import encode_flac
from corpus.speech.clip_requests import QUERY
from corpus.store.digest_store import Store
from schemas.audio import SAMPLE_RATE
from schemas.tables import CLIPS, FEATURES
from tests.support.browser import browser_at
from tests.support.line import SYMPATHEIA
from tests.support.replies import ANY_TOPIC

RESULT = Path(__file__).with_suffix(".json")
SECONDS = {QUERY: 5, "response": 18}
AMPLITUDE = 0.03
DIFFERENT = 64
"""Clips of noise for each role, in turn; each is a file of its own, and no two neighbours are
alike, so nothing is won by their coming again."""
SAMPLE_EVERY = 0.5
"""Seconds; counting pages takes some milliseconds a process."""


def noise_run(kept: RunFolder, folder: Path) -> RunFolder:
    """A run with the kept one's texts and a clip of noise for each of its clips."""
    run = RunFolder(folder)
    run.queries.parent.mkdir(parents=True)
    for table in (kept.recipe, kept.queries, kept.responses):
        shutil.copy(table, folder / table.relative_to(kept.root))
    rng = np.random.default_rng(0)
    noise = {
        role: itertools.cycle([_noise(rng, seconds) for _ in range(DIFFERENT)])
        for role, seconds in SECONDS.items()
    }
    rows = []
    with Store(run.store) as store:  # never a shared one: this is noise
        for clip in read_rows(kept.clips):
            store.clips.put(clip["digest"], next(noise[clip["role"]]))
            rows.append(clip | {"seconds": float(SECONDS[clip["role"]])})
    write_table(run.clips, CLIPS, rows)
    return run


def _noise(rng: np.random.Generator, seconds: int) -> bytes:
    sound = rng.standard_normal(seconds * SAMPLE_RATE) * AMPLITUDE
    return encode_flac(sound.astype(np.float32))


def pack_ours(folder: Path) -> None:
    """Packs the run with the project's writer."""
    with _opened(folder) as run:
        write_corpus(run)


def pack_theirs(folder: Path) -> None:
    """Packs the same rows with `datasets`' own writer, a file for each subset and split."""
    import datasets
    from datasets.arrow_writer import ParquetWriter

    features = datasets.Features.from_dict(FEATURES)
    writers: dict[tuple[str, str], ParquetWriter] = {}
    out = folder / "theirs"
    out.mkdir()
    with _opened(folder) as run:
        for pair, row in corpus_rows(run):
            key = (pair.query.subset, pair.query.split)
            if key not in writers:
                path = str(out / f"{key[0]}-{key[1]}.parquet")
                writers[key] = ParquetWriter(features=features, path=path)
            writers[key].write(row)
        for writer in writers.values():
            writer.finalize()


@contextmanager
def _opened(folder: Path) -> Iterator[OpenRun]:
    run, progress = RunFolder(folder), Progress(None)
    blueprint = run.blueprint()
    progress.begin("shards", {pair.cell: 1 for pair in blueprint.plan.pairs()})
    with Store(run.store) as store:  # never a shared one: this is noise
        yield OpenRun(blueprint, run, store, progress)


def watched(command: list[str], **env: str) -> dict[str, Any]:
    """Runs a command: seconds, peak memory of all its processes, exit code."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | env
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, _memory(psutil.Process(process.pid)))
        time.sleep(SAMPLE_EVERY)
    output, _ = process.communicate()
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "peak_memory_mb": peak >> 20,
        "exit": process.returncode,
        "output": output,
    }


def _memory(process: psutil.Process) -> int:
    """Bytes of a process and all below it, a page that n of them share as an n-th for each."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_full_info().pss
    except psutil.Error:  # one has just ended
        return total
    return total


def packing(kept: RunFolder, folder: Path) -> dict[str, Any]:
    """Both writers in turn, and the first row of ours as a stream."""
    run = noise_run(kept, folder / "noise")
    found: dict[str, Any] = {}
    for name, out in (("ours", run.corpus), ("datasets", run.root / "theirs")):
        os.sync()  # what the one left to be written is not the other's to wait for
        figures = watched([sys.executable, "-m", "benchmarks.dataset_run", str(run.root), name])
        size = sum(path.stat().st_size for path in out.rglob("*.parquet"))
        found[name] = {key: figures[key] for key in ("seconds", "peak_memory_mb", "exit")}
        found[name] |= {"gigabytes": round(size / 1e9, 2)}
        if name == "ours":
            found["first_row_streamed_seconds"] = first_row(out)
        shutil.rmtree(out)
    return found


def first_row(corpus: Path) -> float:
    """Seconds from `load_dataset` to the first row, of a library already imported."""
    import datasets

    begun = time.perf_counter()
    stream = datasets.load_dataset(str(corpus), split="train", streaming=True)
    for name in ("query_audio", "response_audio"):
        stream = stream.cast_column(name, datasets.Audio(decode=False))
    next(iter(stream))
    return round(time.perf_counter() - begun, 2)


def product(kept: RunFolder) -> dict[str, Any]:
    """The command line's own packing, check and report of the kept run."""

    def command(*arguments: str, **env: str) -> dict[str, Any]:
        return watched([str(SYMPATHEIA), *arguments], **env)

    # The servers are gone by now; nothing is asked of them.
    recipe = kept.read_recipe()
    settings = (
        f"llm.endpoints={json.dumps(recipe.llm.endpoints)}",
        f"speech.endpoints={json.dumps(recipe.speech.endpoints)}",
        "speech.prosody=false",
        ANY_TOPIC,
        f"emotional.pairs_per_anchor={recipe.emotional.pairs_per_anchor}",
        f"neutral.queries={recipe.neutral.queries}",
    )
    given = [part for setting in settings for part in ("--set", setting)]
    shards = command("build", "sympatheia-18k", "--run-dir", str(kept.root), *given)
    with tempfile.TemporaryDirectory() as cache:  # in which no check is remembered yet
        watched([sys.executable, "-m", "flows.services", "prepare"], XDG_CACHE_HOME=cache)
        check = command("check", str(kept.root), "--json", XDG_CACHE_HOME=cache)
        again = command("check", str(kept.root), "--json", XDG_CACHE_HOME=cache)
    gates = json.loads(check.pop("output"))["gates"]
    report = command("report", str(kept.root))
    page = Path(report.pop("output").strip())
    with browser_at(page) as opened:
        players = opened.players()
    return {
        "shards": {key: shards[key] for key in ("seconds", "peak_memory_mb", "exit")},
        "check": check | {"failed": [gate for gate in gates if not gate["passed"]]},
        "check_again": {key: again[key] for key in ("seconds", "peak_memory_mb", "exit")},
        "report": report
        | {
            "megabytes": round(page.stat().st_size / 1e6, 2),
            "browser_load_seconds": opened.load_seconds,
            "players": len(players),
            "errors": opened.errors,
        },
    }


def main() -> None:
    """Measures all, prints and writes the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="a run kept by benchmarks.speech_run --keep")
    parser.add_argument("only", nargs="?", choices=("ours", "datasets"), help="used by itself")
    given = parser.parse_args()
    if given.only:
        (pack_ours if given.only == "ours" else pack_theirs)(given.folder)
        return
    kept = RunFolder(given.folder)
    with tempfile.TemporaryDirectory(dir=given.folder.parent) as name:
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}",
            "load_before": round(os.getloadavg()[0], 1),
            "run": product(kept),
            "packing": packing(kept, Path(name)),
        }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
