"""What it is worth that a text is spoken as soon as it is accepted.

Two command lines build the same small corpus at the same time, each against a text server and a
speech server of its own: one speaks what is accepted at once, one waits for the last text
(`speech.after_texts`). So what else the machine does meets both alike. All servers take a fixed
time for an answer, with as many requests in flight at either kind, and there are about as many
clips as texts: each kind alone takes half of both. What no build can be faster than is the time of
the slower kind, its requests times its latency over what is in flight. Both corpora are compared
byte by byte.

    .venv/bin/python -m benchmarks.overlap

It takes about 15 minutes. The figures go to `overlap.json` beside this file.
"""

import json
import os
import platform
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.speech_run import SpeechServerProcess
from benchmarks.text_run import build
from corpus.run.run_folder import RunFolder
from tests.support.fake_servers import TextServerProcess
from tests.support.line import files_of

PAIRS = ("emotional.pairs_per_anchor=25", "neutral.queries=17")
IN_FLIGHT = 8
LATENCY = 4.0
MOST_OVER_IDEAL = 1.10
"""What a build without the barrier may take, over the ideal of the slower servers."""

RESULT = Path(__file__).with_suffix(".json")


def whole(folder: Path, *, after_texts: bool) -> dict[str, Any]:
    """A whole build, from the plan to the dataset."""
    run = RunFolder(folder)
    with TextServerProcess(latency=LATENCY) as texts, SpeechServerProcess(LATENCY) as speech:
        settings = (
            *PAIRS,
            'llm.model="fake"',
            f"llm.concurrency={IN_FLIGHT}",
            f"speech.concurrency={IN_FLIGHT}",
            f'speech.endpoints=["{speech.url}"]',
            f"speech.after_texts={str(after_texts).lower()}",
            "speech.prosody=false",
        )
        figures = build(run.root, texts, *settings, until="shards")
    clips = pq.read_metadata(run.clips).num_rows
    ideal = max(figures["requests"], clips) * LATENCY / IN_FLIGHT
    return {
        "texts_asked": figures.pop("requests"),
        "clips": clips,
        **figures,
        "ideal_of_the_slower_servers": round(ideal, 1),
        "over_that_ideal": round(figures["seconds"] / ideal, 3),
    }


def main() -> None:
    """Runs both, prints and writes the figures."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folders = {False: Path(name) / "at_once", True: Path(name) / "after_texts"}
        with ThreadPoolExecutor(2) as pool:
            found = dict(
                zip(
                    (path.name for path in folders.values()),
                    pool.map(lambda late: whole(folders[late], after_texts=late), folders),
                    strict=True,
                )
            )
        at_once, after = (files_of(RunFolder(folder)) for folder in folders.values())
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "note": "Both side by side; the load says what else the machine did.",
        "server_seconds": LATENCY,
        "in_flight_at_either": IN_FLIGHT,
        **found,
        "same_bytes": at_once == after,
        "gate": {"most": MOST_OVER_IDEAL, "passed": False},
    }
    result["gate"]["passed"] = found["at_once"]["over_that_ideal"] <= MOST_OVER_IDEAL
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
