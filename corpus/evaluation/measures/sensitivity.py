"""What becomes of the answers when the point that is told is off: noisy, or drawn to the middle.

`sympatheia respond --noise SIGMA` and `--scale R` ask for the same queries at other points. The
responses at sigma, or r, are compared with the target, which they are to fit, and with the point
that was told, which they were to follow.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from corpus.evaluation.statistics import mean, rank_correlation
from corpus.evaluation.systems import NOISE, SCALE, TOLD
from corpus.evaluation.workbench import Workbench
from corpus.sound.prosody import FEATURES

RATING = "rating"
"""Column of a judge's grades, where there is one."""


def sensitivity(variants: Sequence[tuple[str, pd.DataFrame]], bench: Workbench) -> dict[str, Any]:
    """The figures of every point beside the target's.

    Args:
        variants: condition and measured rows of each, the folder's first system before the others.
        bench: what is worked with.

    Returns:
        `sensitivity` by sigma and `interpolation` by r, each None where there are no such
        responses: rows, the mean grade, each feature's mean and its rank correlation with the
        target's valence and arousal (`target`) and with those told (`told`).
    """
    told = dict(variants)

    def of(prefix: str, own_value: str) -> dict[str, Any] | None:
        found = {
            condition.removeprefix(prefix): _figures(rows, bench)
            for condition, rows in told.items()
            if condition.startswith(prefix)
        }
        if not found:
            return None
        if TOLD in told:  # the target's own point
            found[own_value] = _figures(told[TOLD], bench)
        return dict(sorted(found.items(), key=lambda one: float(one[0])))

    return {"sensitivity": of(NOISE, "0"), "interpolation": of(SCALE, "1")}


def _figures(rows: pd.DataFrame, bench: Workbench) -> dict[str, Any]:
    queries = rows["query_id"]
    graded = mean(rows[RATING], queries, bench.seed) if RATING in rows else None
    return {
        "rows": len(rows),
        "judge": graded,
        "features": {name: mean(rows[name], queries, bench.seed) for name in FEATURES},
        **{
            kind: {
                name: {
                    axis: rank_correlation(rows[name], rows[f"{prefix}{axis}"])
                    for axis in ("valence", "arousal")
                }
                for name in FEATURES
            }
            for kind, prefix in (("target", ""), ("told", "told_"))
        },
    }
