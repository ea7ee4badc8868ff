"""Does the voice follow the feeling? Seven features against valence and arousal.

The features are those of the Sympatheia paper, measured as `corpus.sound.prosody` says: by WORLD
where the paper has librosa's pYIN, at one rate for all systems, each feature with the clips that
have it.
"""

import pandas as pd

from corpus.evaluation.measures.measure import Figures, Measure
from corpus.evaluation.statistics import by_anchor, high_against_low, rank_correlation
from corpus.evaluation.workbench import Workbench
from corpus.sound.prosody import FEATURES

HIGH = ("angry", "excited", "anxious", "surprised")
LOW = ("sad", "tired", "relaxed", "content")
"""The anchors of high and of low arousal that the paper compares; the others lie between."""


def prosody(rows: pd.DataFrame, bench: Workbench) -> Figures | None:
    """By feature the rank correlations and the tests of groups, and its mean by anchor."""
    if not rows["centroid"].notna().any():
        return None
    groups = {
        "high_arousal": (rows["emotion"].isin(HIGH), rows["emotion"].isin(LOW)),
        "positive_valence": (rows["valence"] > 0, rows["valence"] < 0),
    }
    return {
        feature: {
            "valence": rank_correlation(rows[feature], rows["valence"]),
            "arousal": rank_correlation(rows[feature], rows["arousal"]),
            **{
                name: high_against_low(rows[feature][high], rows[feature][low])
                for name, (high, low) in groups.items()
            },
            "by_anchor": by_anchor(rows[feature], rows, bench.seed),
        }
        for feature in FEATURES
    }


MEASURE = Measure(
    "prosody",
    "Rank correlation (Spearman) of F0 mean, standard deviation and range, energy and its "
    "standard deviation, rate and spectral centroid with the target's valence and arousal; "
    "Mann-Whitney tests of high against low arousal and of pleasant against unpleasant.",
    frozenset({"prosody"}),
    prosody,
)
