"""What an evaluation takes: for each item, for the demo, and for 18,000 pairs.

- `items`: CPU seconds of one core for a clip and for a second of sound, by what is measured (clips
  of the builtin voice); for the twelve responses to a neutral query, compared two by two; for a
  response that is embedded.
- `figures`: the figures of 18,000 rows, 500 neutral queries among them, whose clips are taken for
  measured: wall seconds of each measure, and the resident memory of this process, of the one that
  embeds and of those that measure (pages that they share count for each).
- `demo`: wall seconds of `sympatheia evaluate` on a demo corpus, if its folder is given, with
  nothing on file and again with all of it.

    .venv/bin/python -m benchmarks.evaluation [runs/demo]

About 15 minutes on two quiet cores. The figures go to `evaluation.json` beside this file.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from benchmarks.prosody_by_librosa import clips
from corpus.evaluation.clip_measures import measure_clip
from corpus.evaluation.evaluation import workbench
from corpus.evaluation.measures.invariance import scores
from corpus.evaluation.measures.registry import MEASURES
from corpus.evaluation.systems import COLUMNS
from corpus.plan.prompt_files import BUNDLED, read_anchors
from corpus.run.progress import Progress
from corpus.sound.clip_audio import encode_flac
from corpus.sound.prosody import FEATURES
from schemas.audio import SAMPLE_RATE
from schemas.recipe_evaluation import DISTILLMOS, Evaluation
from tests.support import sentences
from tests.support.line import SYMPATHEIA

RESULT = Path(__file__).with_suffix(".json")
KINDS = (("prosody", ""), ("words", ""), ("naturalness", DISTILLMOS))
SPAWNING_MB = 50
"""What helps to start processes is smaller."""
NEUTRAL_QUERIES, PAIRS_PER_ANCHOR = 500, 1_000


def items() -> dict[str, Any]:
    """CPU seconds of one item of each kind."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sounds = [clip["samples"] for clip in clips()]
    encoded = [encode_flac(sound) for sound in sounds]
    seconds = sum(len(sound) for sound in sounds) / SAMPLE_RATE
    found: dict[str, Any] = {"clips": len(sounds), "seconds_of_sound": round(seconds, 1)}
    for kind, argument in KINDS:
        measure_clip(encoded[0], ((kind, argument),))  # loads what it needs
        begun = time.process_time()
        for clip in encoded:
            measure_clip(clip, ((kind, argument),))
        spent = time.process_time() - begun
        found[kind] = {
            "cpu_seconds_a_clip": round(spent / len(sounds), 3),
            "cpu_seconds_a_second_of_sound": round(spent / seconds, 4),
        }
    texts = [sentences.response(number, "sad") for number in range(12)]
    scores("", texts)
    begun = time.process_time()
    scores("", texts)
    found["likeness"] = {"cpu_seconds_a_query": round(time.process_time() - begun, 3)}
    return found


def rows() -> pd.DataFrame:
    """As many rows as Sympatheia-18k has, with texts of their own and features that follow them."""
    draw, made = np.random.default_rng(0), []
    for number, anchor in enumerate(read_anchors(BUNDLED).anchors):
        for subset, count in (("emotional", PAIRS_PER_ANCHOR), ("neutral", NEUTRAL_QUERIES)):
            for query in range(count):
                cell = subset if subset == "neutral" else f"{subset}-{anchor.name}"
                seed = number * 10_000 + query + (5_000 if subset == "neutral" else 0)
                made.append(
                    {
                        "id": f"{subset}-{query:05}-{anchor.name}",
                        "query_id": f"{cell}-{query:05}",
                        "subset": subset,
                        "emotion": anchor.name,
                        "valence": anchor.valence,
                        "arousal": anchor.arousal,
                        "status": "ok",
                        "topic": f"topic {query % 300}",
                        "text": sentences.response(seed, anchor.name),
                    }
                )
    table = pd.DataFrame(made).reindex(columns=list(COLUMNS))
    noise = {name: table["arousal"] + draw.normal(0, 1, len(table)) for name in FEATURES}
    table = table.assign(**noise, heard=table["text"], seconds=15.0, problem=None)
    return table.assign(mos=3.5 + draw.normal(0, 0.5, len(table))).set_index("id", drop=False)


def figures(folder: Path) -> dict[str, Any]:
    """The figures of 18,000 rows."""
    table = rows().rename_axis(None)
    found: dict[str, Any] = {"rows": len(table)}
    with workbench(folder, Evaluation(), Progress(None)) as bench:
        for measure in MEASURES:
            begun = time.perf_counter()
            measure.of(table, bench)
            found[f"{measure.name}_seconds"] = round(time.perf_counter() - begun, 1)
        children = psutil.Process().children()
        sizes = sorted(round(child.memory_info().rss / 1e6) for child in children)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    embedder, workers = sizes[-1], [size for size in sizes[:-1] if size > SPAWNING_MB]
    found["resident_memory_mb"] = {
        "this_process_at_most": round(own),
        "embedder": embedder,
        "workers": workers,
    }
    return found


def demo(run: Path) -> dict[str, float]:
    """Seconds of the command on a demo, new and again."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "demo"
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns(".evaluation", "store"))
        found = {}
        for which in ("new", "again"):
            begun = time.perf_counter()
            subprocess.run([SYMPATHEIA, "evaluate", copy], check=True, capture_output=True)
            found[f"{which}_seconds"] = round(time.perf_counter() - begun, 1)
    return found


def main() -> None:
    """Measures, prints and writes down the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("demo", nargs="?", type=Path, help="A demo's run folder.")
    run = parser.parse_args().demo
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        "load_before": round(os.getloadavg()[0], 1),
        "items": items(),
    }
    with tempfile.TemporaryDirectory() as name:
        result["figures"] = figures(Path(name))
    if run is not None:
        result["demo"] = demo(run)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
