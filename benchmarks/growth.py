"""How the text half grows: recipes of 20,000 pairs and more against an instant local server.

Each size is built by the command line, in Sympatheia-18k's proportions (two thirds emotional), and
measured from outside (seconds, CPU, peak memory of all its processes) and from its own log: what
embedding, the near-duplicate search, the tables and the comparison of responses took. The rest is
asking and judging. `exponent` is that of seconds over pairs from one size to the next: 1 is linear.

Run it on a quiet machine; the server shares its cores. 200,000 pairs take three quarters of an
hour on two cores.

    .venv/bin/python -m benchmarks.growth 20000 63000 200000

The figures go to `growth.json` beside this file, each size when it is done.
"""

import json
import math
import os
import platform
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.text_run import build, counts, size_of
from corpus.run.run_folder import RunFolder
from corpus.store.line_log import read_log
from tests.support.fake_servers import TextServerProcess

ANCHORS = 12
SIZES = (20_000, 63_000, 200_000)
STAGES = ("asking and judging", "embedding", "near-duplicate search", "tables", "near-twins")
RESULT = Path(__file__).with_suffix(".json")


def settings_of(pairs: int) -> tuple[str, ...]:
    """A recipe's settings for so many pairs, two thirds of them emotional."""
    per_anchor = round(pairs * 2 / 3 / ANCHORS)
    neutral = round(pairs / 3 / ANCHORS)
    sizes = f"emotional.pairs_per_anchor={per_anchor}", f"neutral.queries={neutral}"
    # The server's words run out: at 200,000 pairs it repeats itself more than 16 attempts bear.
    return *sizes, "llm.max_attempts=64"


def stage_seconds(run: RunFolder, seconds: float) -> dict[str, float]:
    """What each part took, by the run's log; embedding happens beside the asking."""
    lines = read_log(run.log)
    tables = {line["table"]: line["seconds"] for line in lines if line["event"] == "table"}
    judged = [line for line in lines if line["event"] == "near-duplicates"]
    twins = tables.pop("similarities")
    written = sum(tables.values())
    found = (
        seconds - twins - written,
        sum(line["embedding_seconds"] for line in judged),
        sum(line["search_seconds"] for line in judged),
        written,
        twins,
    )
    return {name: round(value, 1) for name, value in zip(STAGES, found, strict=True)}


def measured(folder: Path, pairs: int) -> dict[str, Any]:
    """Builds a corpus of so many pairs, up to its responses."""
    run = RunFolder(folder / str(pairs))
    with TextServerProcess() as server:
        figures = build(run.root, server, *settings_of(pairs))
    return (
        figures
        | counts(run)
        | {
            "store_mb": size_of(run.store),
            "stages": stage_seconds(run, figures["seconds"]),
        }
    )


def exponents(sizes: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """How seconds, CPU and memory grow from each size to the next, as powers of the pairs."""

    def power(smaller: float, larger: float, ratio: float) -> float | None:
        return round(math.log(larger / smaller) / math.log(ratio), 2) if smaller > 1 else None

    found: dict[str, Any] = {}
    for (few, before), (many, after) in pairwise(sizes):
        ratio = many / few
        of = {
            name: power(before[name], after[name], ratio)
            for name in ("seconds", "cpu_seconds", "peak_memory_mb", "store_mb")
        }
        stages = {
            name: power(before["stages"][name], after["stages"][name], ratio) for name in STAGES
        }
        found[f"{few} to {many}"] = of | {"stages": stages}
    return found


def main() -> None:
    """Builds every size named, prints and writes down the figures."""
    sizes: list[tuple[int, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as name:
        for pairs in [int(argument) for argument in sys.argv[1:]] or SIZES:
            load = os.getloadavg()[0]
            sizes.append((pairs, {"load_before": round(load, 1)} | measured(Path(name), pairs)))
            result = {
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
                f"Python {platform.python_version()}",
                "pairs": {str(count): figures for count, figures in sizes},
                "exponents": exponents(sizes),
            }
            RESULT.write_text(json.dumps(result, indent=2) + "\n")
            print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
