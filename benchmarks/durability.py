"""What it costs that everything paid for is on the disk before it counts as done.

The texts of a thousand pairs are written by two command lines at the same time, each against a
server of its own: one as it is, one with an `os.fsync` that does nothing. So what else the machine
does meets both alike. The servers answer at once, or take a second with 256 requests in flight.
Wall time of each, and how often the disk was waited for and for how long; most of that is waited by
threads, while the event loop goes on.

    .venv/bin/python -m benchmarks.durability

The figures go to `durability.json` beside this file.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.fake_servers import TextServerProcess
from tests.support.replies import ANY_TOPIC

PAIRS = ("emotional.pairs_per_anchor=50", "neutral.queries=34")
IN_FLIGHT = 256
LATENCY = 1.0
ROUNDS = 3
RESULT = Path(__file__).with_suffix(".json")

COMMAND = """
import atexit, json, os, sys, time
kind, report = sys.argv[1:3]
real, waited = os.fsync, []
def fsync(file):
    begun = time.perf_counter()
    if kind == "synced":
        real(file)
    waited.append(time.perf_counter() - begun)
os.fsync = fsync
def tell():
    with open(report, "w") as file:
        json.dump({"syncs": len(waited), "seconds_in_syncs": round(sum(waited), 2)}, file)
atexit.register(tell)
del sys.argv[1:3]
from flows.cli.main import main
main()
"""


def write_texts(folder: Path, kind: str, server: TextServerProcess) -> dict[str, float]:
    """The text half of a run in a new folder, "synced" or "unsynced"."""
    report = folder.with_suffix(".json")
    command = [sys.executable, "-c", COMMAND, kind, str(report), "build", "sympatheia-18k"]
    command += ["--run-dir", str(folder), "--until", "responses"]
    for setting in (
        f'llm.endpoints=["{server.base_url}"]',
        'llm.model="fake"',
        ANY_TOPIC,
        f"llm.concurrency={IN_FLIGHT}",
        *PAIRS,
    ):
        command += ["--set", setting]
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(done.stderr)
    return {"seconds": round(seconds, 1), **json.loads(report.read_text())}


def compare(folder: Path, latency: float, rounds: int) -> dict[str, Any]:
    """Runs of both kinds side by side, and what the one costs more."""

    def one(number: int, kind: str) -> dict[str, float]:
        with TextServerProcess(latency=latency) as server:
            return write_texts(folder / f"{latency:g}-{number}-{kind}", kind, server)

    runs: dict[str, list[dict[str, float]]] = {"unsynced": [], "synced": []}
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            for kind, done in zip(runs, pool.map(one, [number] * 2, runs), strict=True):
                runs[kind].append(done)
    ratios = [
        synced["seconds"] / unsynced["seconds"]
        for unsynced, synced in zip(runs["unsynced"], runs["synced"], strict=True)
    ]
    share = max(run["seconds_in_syncs"] / run["seconds"] for run in runs["synced"])
    return {
        "server_seconds": latency,
        "cost_of_syncing": round(statistics.median(ratios) - 1, 3),
        "most_of_a_run_spent_in_syncs": round(share, 3),
        **runs,
    }


def main() -> None:
    """Runs all, prints and writes down the figures."""
    load = os.getloadavg()[0]
    runs = RESULT.parents[1] / "runs"  # on a disk: where temporary folders are may be memory
    runs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs) as name:
        folder = Path(name)
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}",
            "load_before": round(load, 1),
            "note": "Pairs of runs side by side; other work shared the machine, as its load says.",
            "instant": compare(folder, 0.0, ROUNDS),
            "a_second_each": compare(folder, LATENCY, ROUNDS),
        }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
