"""How near an estimate comes: `estimate --probe 50` of 2,000 pairs, and what they then take.

The text half, as the command line runs it, against a local server that refuses a tenth of its
answers by the text rules. The probe is made without its clips, which no server is asked for here.

    .venv/bin/python -m benchmarks.estimate

The figures go to `estimate.json` beside this file.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from corpus.estimate.forecast import estimate
from corpus.estimate.probe import probe_of
from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.store.opening import open_store
from tests.support.fake_servers import TextServerProcess
from tests.support.line import SYMPATHEIA
from tests.support.replies import ANY_TOPIC

SIZE = ("emotional.pairs_per_anchor=100", "neutral.queries=67")
"""2,004 pairs of twelve anchors."""
PROBE = 50
REFUSED = ("short", "markdown", "length")
RESULT = Path(__file__).with_suffix(".json")


def build(run: RunFolder, settings: list[str]) -> None:
    """Writes the texts of a run."""
    command = [str(SYMPATHEIA), "build", "sympatheia-18k", "--until", "responses"]
    command += ["--run-dir", str(run.root)]
    for setting in settings:
        command += ["--set", setting]
    subprocess.run(command, check=True, capture_output=True)


def taken(run: RunFolder, server: TextServerProcess) -> dict[str, int]:
    """What was asked of the server until now."""
    with open_store(run.store) as store:
        answers = list(store.completions.values())
    return {
        "requests": server.report()["count"],
        "prompt_tokens": sum(answer["prompt_tokens"] for answer in answers),
        "completion_tokens": sum(answer["completion_tokens"] for answer in answers),
    }


def main() -> None:
    """Probes, estimates, builds; prints and writes down the figures."""
    with (
        tempfile.TemporaryDirectory() as name,
        TextServerProcess(misbehave=REFUSED, share=0.1) as server,
    ):
        run = RunFolder(Path(name) / "run")
        settings = [f'llm.endpoints=["{server.base_url}"]', 'speech.backend="builtin"']
        settings += [ANY_TOPIC, "speech.endpoints=[]", 'speech.model=""', *SIZE]
        settings += ['speech.query_voice="wren"', 'speech.response_voice="heron"']
        blueprint = Blueprint.named("sympatheia-18k", settings)
        probe = probe_of(blueprint, PROBE)
        sizes = probe.recipe.emotional.pairs_per_anchor, probe.recipe.neutral.queries
        smaller = [f"emotional.pairs_per_anchor={sizes[0]}", f"neutral.queries={sizes[1]}"]
        build(run, [*settings, *smaller])
        before, found = taken(run, server), estimate(blueprint, run).as_data()
        build(run, settings)
        after = taken(run, server)
    figures = {}
    for key in after:
        actual = after[key] - before[key]
        bounds = {bound: round(found[key][bound] / actual, 3) for bound in ("low", "high")}
        figures[key] = {"estimated": found[key], "then_taken": actual, "over_taken": bounds}
    result = {
        "machine": f"{os.cpu_count()} cores, shared with others (load {os.getloadavg()[0]:.0f})",
        "pairs": blueprint.plan.pair_count,
        "probe_pairs": probe.plan.pair_count,
        **figures,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
