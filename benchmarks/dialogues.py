"""Are the servers kept busy by dialogues, whose requests follow on each other?

500 dialogues of 4 exchanges, each turn of which waits for the one before, with 256 requests in
flight at most: the share of them in use until the tail, as `benchmarks.text_run` measures it. The
server takes four seconds, so that the pipeline has 64 requests a second to see to; or one second,
which makes 256, more than two cores can do beside the server that shares them.

    .venv/bin/python -m benchmarks.dialogues

The figures go to `dialogues.json` beside this file.
"""

import json
import os
import platform
import tempfile
from pathlib import Path

from benchmarks.text_run import IN_FLIGHT, steady

RESULT = Path(__file__).with_suffix(".json")
LATENCIES = (4.0, 1.0)
"""Of the server, seconds."""
DIALOGUES = (
    "emotional.pairs_per_anchor=0",
    "neutral.queries=0",
    "dialogue.dialogues=500",
    "dialogue.turns=[4, 4]",
    f"llm.concurrency={IN_FLIGHT}",
)


def main() -> None:
    """Measures, prints and writes the figures."""
    load = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            f"{latency:g} s": steady(Path(folder) / str(latency), DIALOGUES, latency)
            for latency in LATENCIES
        }
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "load_before": load}
    found = json.dumps(machine | {"in_flight": IN_FLIGHT, "a_request_takes": figures}, indent=2)
    RESULT.write_text(found + "\n")
    print(found)


if __name__ == "__main__":
    main()
