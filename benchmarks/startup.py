"""How much of a build's start is Prefect: the same small run with its flow and without.

For each, several times by turns: seconds from the command to the first request at an instant
server, and to the end. Writes startup.json beside this file.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.fake_servers import FakeTextServer
from tests.support.line import SYMPATHEIA, write_recipe

RUNS = 5
RESULT = Path(__file__).with_suffix(".json")

PLAIN = """
import sys
from pathlib import Path
from tests.support.line import write_run
write_run(Path(sys.argv[2]), Path(sys.argv[1]))
"""


def seconds(command: list[str], server: FakeTextServer) -> tuple[float, float]:
    """Seconds to the first request, and to the end, of a command that builds."""
    server.requests.clear()
    begun = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return server.requests[0].at - begun, time.monotonic() - begun


def main() -> None:
    """Runs the comparison, prints it and writes it down."""
    figures: dict[str, list[tuple[float, float]]] = {"with the flow": [], "without Prefect": []}
    with FakeTextServer() as server, tempfile.TemporaryDirectory() as folder:
        recipe = write_recipe(Path(folder) / "r.toml", server.base_url, anchors=("sad",))
        for number in range(RUNS + 1):
            run = Path(folder) / f"run{number}"
            flow = [str(SYMPATHEIA), "build", str(recipe), "--until", "responses"]
            commands = {
                "with the flow": [*flow, "--run-dir", f"{run}-flow"],
                "without Prefect": [sys.executable, "-c", PLAIN, str(recipe), f"{run}-plain"],
            }
            for name, command in commands.items():
                figure = seconds(command, server)
                if number:  # the first of each only warms the disk
                    figures[name].append(figure)
    result = {
        "what": "seconds from the command to the first request and to the end, median of runs",
        "cores": os.cpu_count(),
        "runs": RUNS,
        "first_request": {
            name: round(statistics.median(f for f, _ in both), 2) for name, both in figures.items()
        },
        "end": {
            name: round(statistics.median(e for _, e in both), 2) for name, both in figures.items()
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
