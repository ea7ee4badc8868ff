"""The text half of Sympatheia-18k, as the command line runs it, against local servers.

- `full`: all 18,000 pairs against a server that answers at once. What is left is the pipeline's
  own work: seconds, CPU, peak memory (of the command and all it starts), size of the store. The
  near-duplicate search is timed by deciding the run's own vectors once more.
- `again`: the same command once more, which has nothing to do.
- `steady`: a third as many texts against a server that takes a second, 256 in flight: requests
  per second over the ideal, and the share of samples, until the tail, with over 90 % in flight.
- `after_a_kill`: the same, killed when half is answered and started again: seconds from the command
  and from its first request until the budget is full again, and the share of samples from then to
  the tail with over 90 and over 95 % in flight.
- `interrupt`: seconds from Ctrl-C, and from Ctrl-C twice, to the end of a run whose requests hang.

Run it on a quiet machine; the server shares its cores.

    .venv/bin/python -m benchmarks.text_run

The figures go to `text_run.json` beside this file.
"""

import json
import os
import platform
import signal
import subprocess
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq

from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.run.run_folder import RunFolder
from corpus.store.line_log import read_log
from corpus.store.opening import open_store
from corpus.text.near_duplicate_queries import Accepted
from corpus.text.query_decision_order import JUDGE_AT_ONCE
from corpus.text.wording.cleaning import clean
from tests.support.fake_servers import TextServerProcess
from tests.support.line import SYMPATHEIA
from tests.support.replies import ANY_TOPIC

IN_FLIGHT = 256
LATENCY = 1.0
HALF = 5_000
"""Requests of the steady run after which it is killed."""
RESULT = Path(__file__).with_suffix(".json")


def build(
    folder: Path, server: TextServerProcess, *settings: str, until: str = "responses"
) -> dict[str, float]:
    """Runs `sympatheia build` until a stage is done, watching all its processes."""
    served = (f'llm.endpoints=["{server.base_url}"]', 'llm.model="fake"', ANY_TOPIC)
    settings = (*served, *settings)
    command = [str(SYMPATHEIA), "build", "sympatheia-18k", "--until", until]
    command += ["--run-dir", str(folder)]
    for setting in settings:
        command += ["--set", setting]
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    asked = server.report()["count"]
    begun = time.perf_counter()
    with log.open("wb") as file:
        process = psutil.Popen(command, stdout=file, stderr=file)
        peak, cpu = 0, {}
        while process.poll() is None:
            together = 0
            for member in (process, *process.children(recursive=True)):
                try:
                    times = member.cpu_times()
                    together += member.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                cpu[member.pid] = times.user + times.system
            peak = max(peak, together)
            time.sleep(0.1)
    seconds = time.perf_counter() - begun
    if process.returncode:
        raise SystemExit(log.read_text())
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(cpu.values()), 1),
        "peak_memory_mb": round(peak / 1e6),
        "requests": server.report()["count"] - asked,
    }


def counts(run: RunFolder) -> dict[str, int]:
    """Rows of the text tables, and candidates refused."""
    queries = pq.read_table(run.queries, columns=["subset"])["subset"].to_pylist()
    responses = pq.read_table(run.responses, columns=["id"])["id"].to_pylist()
    pairs = Counter(pair_id.split("-")[0] for pair_id in responses)
    return {
        "queries": len(queries),
        "emotional_pairs": pairs["emotional"],
        "neutral_pairs": pairs["neutral"],
        "refused": pq.read_metadata(run.rejects).num_rows,
    }


def search_again(run: RunFolder) -> dict[str, float]:
    """Decides the run's vectors anew, in the blocks in which a run does, and times that."""
    recipe = run.read_recipe()
    judged = [entry for entry in read_log(run.decisions) if entry["similarity"] is not None]
    with (
        open_store(run.store, recipe.storage.url) as store,
        EmbeddingProcess(recipe.dedup.model) as embedder,
    ):
        texts = [
            clean(record["text"])
            for entry in judged
            if (record := store.completions.get(entry["digest"])) is not None
        ]
        vectors = embedder.stored(store.embeddings, texts)
    accepted = Accepted(recipe.dedup.threshold)
    begun = time.perf_counter()
    refused = 0
    for start in range(0, len(texts), JUDGE_AT_ONCE):
        ids = [entry["slot"] for entry in judged[start : start + JUDGE_AT_ONCE]]
        verdicts = accepted.judge(ids, vectors[start : start + JUDGE_AT_ONCE])
        refused += sum(not verdict.accepted for verdict in verdicts)
    seconds = time.perf_counter() - begun
    return {"vectors": len(texts), "refused": refused, "seconds": round(seconds, 2)}


def size_of(folder: Path) -> float:
    """Megabytes of all files of a folder."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def full(folder: Path) -> dict[str, Any]:
    """The whole text run, and the same command again."""
    run = RunFolder(folder / "full")
    with TextServerProcess() as server:
        first = build(run.root, server)
        first |= counts(run) | {
            "store_mb": size_of(run.store),
            "near_duplicate_search": search_again(run),
        }
        return {"full": first, "again": build(run.root, server)}


STEADY = (
    "emotional.pairs_per_anchor=333",
    "neutral.queries=167",
    f"llm.concurrency={IN_FLIGHT}",
)


def steady(
    folder: Path, settings: tuple[str, ...] = STEADY, latency: float = LATENCY
) -> dict[str, Any]:
    """A shorter run against a server that takes its time: is it ever left without work?"""
    with TextServerProcess(latency=latency) as server:
        figures = build(folder / "steady", server, *settings)
        samples = server.report()["samples"]
    busy = [(at, count) for at, count in samples if count]
    seconds = busy[-1][0] - busy[0][0]
    full_at = [index for index, (_, count) in enumerate(busy) if count >= 0.98 * IN_FLIGHT]
    # The tail begins when there is less left to ask than fits in flight.
    plateau = [count for _, count in busy[full_at[0] : full_at[-1] + 1]]
    gaps = [later - at for (at, _), (later, _) in pairwise(samples)]
    return figures | {
        "seconds_with_requests": round(seconds, 1),
        "over_ideal_end_to_end": round(figures["requests"] / seconds * latency / IN_FLIGHT, 3),
        "in_flight_over_limit_on_plateau": round(float(np.mean(plateau)) / IN_FLIGHT, 3),
        "plateau_samples_above_90_percent": round(
            sum(count > 0.9 * IN_FLIGHT for count in plateau) / len(plateau), 3
        ),
        "lowest_on_plateau": min(plateau),
        "plateau_seconds": round(busy[full_at[-1]][0] - busy[full_at[0]][0], 1),
        "longest_gap_between_samples": round(max(gaps), 2),
    }


def after_a_kill(folder: Path) -> dict[str, Any]:
    """The steady run, killed at its half and started again: how soon is the server busy again?"""
    root = folder / "killed"
    with TextServerProcess(latency=LATENCY) as server:
        command = [str(SYMPATHEIA), "build", "sympatheia-18k", "--until", "responses"]
        command += ["--run-dir", str(root)]
        served = (f'llm.endpoints=["{server.base_url}"]', 'llm.model="fake"', ANY_TOPIC)
        for setting in (*served, *STEADY):
            command += ["--set", setting]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while server.report()["answered"] < HALF:
            time.sleep(0.2)
        process.kill()
        process.wait()
        while server.report()["in_flight"]:
            time.sleep(0.05)
        begun = time.monotonic()
        figures = build(root, server, *STEADY)
        samples = [(at, count) for at, count in server.report()["samples"] if at > begun and count]
    first = samples[0][0]
    full_at = [index for index, (_, count) in enumerate(samples) if count >= 0.98 * IN_FLIGHT]
    plateau = [count for _, count in samples[full_at[0] : full_at[-1] + 1]]
    return {
        "killed_at": HALF,
        "asked_by_the_second": figures["requests"],
        "seconds_from_the_command_to_full": round(samples[full_at[0]][0] - begun, 1),
        "seconds_from_its_first_request_to_full": round(samples[full_at[0]][0] - first, 1),
        "lowest_until_the_tail": min(plateau),
        **{
            f"samples_above_{share:.0%}".replace("%", "_percent"): round(
                sum(count > share * IN_FLIGHT for count in plateau) / len(plateau), 3
            )
            for share in (0.9, 0.95)
        },
    }


def interrupt(folder: Path, times: int) -> float:
    """Seconds that a run with hanging requests takes to end after so many Ctrl-C."""
    with TextServerProcess(latency=3600) as server:
        command = [str(SYMPATHEIA), "build", "sympatheia-18k", "--until", "responses"]
        command += ["--run-dir", str(folder / f"interrupt{times}")]
        command += ["--set", f'llm.endpoints=["{server.base_url}"]', "--set", 'llm.model="fake"']
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while server.report()["in_flight"] < IN_FLIGHT:
            time.sleep(0.1)
        time.sleep(10)  # Prefect and the models are up by then
        begun = time.perf_counter()
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        process.wait()
        return round(time.perf_counter() - begun, 2)


def main() -> None:
    """Runs all, prints and writes down the figures."""
    # Started in the background by a shell, this process ignores Ctrl-C, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result: dict[str, Any] = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}",
            "load_before": round(load, 1),
            **full(folder),
            "steady": steady(folder),
            "after_a_kill": after_a_kill(folder),
            "interrupt": {f"ctrl_c_{times}x_seconds": interrupt(folder, times) for times in (1, 2)},
        }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
