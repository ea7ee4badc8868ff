"""Does it sound natural? As a network predicts that people would rate it, anchor by anchor."""

import pandas as pd

from corpus.evaluation.clip_measures import MOS, predictor
from corpus.evaluation.measures.measure import Figures, Measure
from corpus.evaluation.statistics import by_anchor
from corpus.evaluation.workbench import Workbench


def naturalness(rows: pd.DataFrame, bench: Workbench) -> Figures | None:
    """The mean over all and by anchor, under the name of what predicted it."""
    if not rows[MOS].notna().any():
        return None
    return {predictor(bench): by_anchor(rows[MOS], rows, bench.seed)}


MEASURE = Measure(
    "naturalness",
    "Predicted mean opinion score from 1 to 5, by anchor. Predictors rank expressive speech "
    "wrongly, so compare systems at one anchor, and not anchors with each other.",
    frozenset({"naturalness"}),
    naturalness,
)
