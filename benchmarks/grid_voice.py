"""What is heard of the grid: responses of the builtin voice at points between the anchors.

    .venv/bin/python -m benchmarks.grid_voice

Speaks eight sentences in turn at 200 points of a grid, as its responses are delivered there, and
one sentence along a line through the plane that crosses many triangles, in steps of 0.02. Prints
and writes `grid_voice.json` beside this file: Spearman's rank correlations of the prosody features
with the arousal at which a response is delivered and with the arousal of its row, and, along the
line, the largest change from one step to the next of what stays within a triangle and of what
crosses into another. About five minutes on two cores.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.voice import cpu_name, speak
from corpus.plan.blueprint import Blueprint
from corpus.plan.subsets.plane_points import PlanePoints
from corpus.sound.prosody import correlations, prosody
from corpus.sound.sound_files import decode
from schemas.audio import SAMPLE_RATE
from schemas.slots import PairSlot, Place

RESULT = Path(__file__).with_suffix(".json")
SENTENCES = (
    "Let us look at it together, one small step after the other.",
    "The ferry leaves at nine from the old pier behind the market.",
    "Put the rice in cold water first, and stir it only once.",
    "You can ask for a new key at the desk on the second floor.",
    "Write down what you need and leave the rest for tomorrow.",
    "A long walk by the river would do both of you some good.",
    "They will send the form by mail, and you sign it at home.",
    "Keep the plant near the window and water it every other day.",
)
LINE = ((-0.75, -0.55), (0.75, 0.8))
STEP = 0.02
HEARD = ("f0_mean", "energy_mean", "rate")


def measured(jobs: list[tuple[str, str, float, float, int]]) -> list[dict[str, float | None]]:
    """The features of each clip."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        sounds = [decode(clip)[0][:, 0] for clip in pool.map(speak, jobs, chunksize=4)]
    return [
        asdict(prosody(sound)) | {"rate": len(job[0].split()) / (len(sound) / SAMPLE_RATE)}
        for job, sound in zip(jobs, sounds, strict=True)
    ]


def jumps(blueprint: Blueprint) -> dict[str, dict[str, float]]:
    """The largest change along the line between two steps, in per cent of the line's range."""
    start, end = map(np.array, LINE)
    count = int(np.linalg.norm(end - start) / STEP) + 1
    points = np.linspace(start, end, count)
    planes = PlanePoints(blueprint.plan.anchors, 0)
    places = [planes.at(float(valence), float(arousal)) for valence, arousal in points]
    delivered = [blueprint.response_manner(_slot(blueprint, place)).point for place in places]
    found = measured([(SENTENCES[0], "heron", p.valence, p.arousal, 1) for p in delivered])
    corners = [frozenset(name for name, _ in place.blend) for place in places]
    crosses = np.array([one != other for one, other in pairwise(corners)])
    said: dict[str, dict[str, float]] = {"triangles": {"crossed": int(crosses.sum())}}
    for name in HEARD:
        values = np.array([clip[name] for clip in found], dtype=float)
        change = 100 * np.abs(np.diff(values)) / np.ptp(values)
        said[name] = {
            "within": round(float(change[~crosses].max()), 1),
            "across": round(float(change[crosses].max()), 1),
        }
    return said


def _slot(blueprint: Blueprint, place: Place) -> PairSlot:
    query = next(slot for slot in blueprint.plan.queries() if slot.subset == "grid")
    return PairSlot("grid-00000-00", query, place.blend[0][0], place)


def main() -> None:
    """Measures, prints and writes."""
    blueprint = Blueprint.named("demo", ("grid.queries=20", "grid.points=10"))
    pairs = [pair for pair in blueprint.plan.pairs() if pair.place]
    points = [blueprint.response_manner(pair).point for pair in pairs]
    found = measured(
        [
            (SENTENCES[n % len(SENTENCES)], "heron", p.valence, p.arousal, n)
            for n, p in enumerate(points)
        ]
    )
    delivered = correlations(found, [(p.valence, p.arousal) for p in points])
    rows = [(pair.place.valence, pair.place.arousal) for pair in pairs if pair.place]
    of_rows = correlations(found, rows)
    result = {
        "cpu": cpu_name(),
        "points": len(pairs),
        "spearman_with_delivered_arousal": {n: delivered[n]["arousal"] for n in delivered},
        "spearman_with_row_arousal": {n: of_rows[n]["arousal"] for n in of_rows},
        "largest_change_of_a_step_percent": jumps(blueprint),
    }
    text = json.dumps(result, indent=2)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
