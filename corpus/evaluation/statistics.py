"""Means with intervals and rank correlations, as every measure states them.

What is asked of one query hangs together, so queries are drawn anew, not rows: the interval is that
of another set of queries of the same size (Efron and Tibshirani 1993, chapter 8).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
DRAWS = 1_000
"""Sets of queries that are drawn for an interval; its ends are then known to some hundredths of its
width."""
DRAWN_AT_ONCE = 50
"""Sets in memory at a time."""
DIGITS = 4

Mean = dict[str, Any]


def mean(values: pd.Series, queries: pd.Series, seed: int = 0) -> Mean | None:
    """A mean with its 95 % interval by drawing queries anew.

    Args:
        values: one a row; null where there is none.
        queries: the query of each row.
        seed: of what is drawn.

    Returns:
        `mean`, `n`, `low` and `high`; the ends are null where fewer than two queries have a value.
        None where no row has one.
    """
    table = pd.DataFrame({"value": values.astype(float), "query": queries}).dropna()
    if table.empty:
        return None
    by_query = table.groupby("query", sort=True)["value"].agg(["sum", "count"])
    low, high = _interval(by_query["sum"].to_numpy(), by_query["count"].to_numpy(), seed)
    return {
        "mean": _rounded(table["value"].mean()),
        "n": len(table),
        "low": low,
        "high": high,
    }


def by_anchor(values: pd.Series, rows: pd.DataFrame, seed: int = 0) -> dict[str, Mean | None]:
    """The mean over all rows as `all`, and over those of each emotion under its name.

    `over_emotions` is the mean of the emotions' means, in which a rare one counts as much.
    """
    found: dict[str, Mean | None] = {"all": mean(values, rows["query_id"], seed)}
    for emotion, part in rows.groupby("emotion", sort=False):
        found[str(emotion)] = mean(values.loc[part.index], part["query_id"], seed)
    known = [one["mean"] for name, one in found.items() if one and name != "all"]
    if known:
        over = {"mean": _rounded(float(np.mean(known))), "n": len(known), "low": None, "high": None}
        found["over_emotions"] = over
    return found


def rank_correlation(values: pd.Series, others: pd.Series) -> dict[str, Any]:
    """Spearman's rank correlation of what both have; null where there is none to be had."""
    table = pd.DataFrame({"one": values, "other": others}).astype(float).dropna()
    if len(table) < 3 or table.nunique().min() < 2:
        return {"rho": None, "p": None, "n": len(table)}
    found = stats.spearmanr(table["one"], table["other"])
    return {"rho": _rounded(found.statistic), "p": float(found.pvalue), "n": len(table)}


def high_against_low(high: Iterable[float], low: Iterable[float]) -> dict[str, Any] | None:
    """The Mann-Whitney U test of two groups, two-sided; None where one of them is empty.

    `share` is how often one drawn from the high group has the higher value, of ties half: 0.5 is no
    difference.
    """
    one, other = (np.asarray(list(group), dtype=float) for group in (high, low))
    one, other = one[~np.isnan(one)], other[~np.isnan(other)]
    if not len(one) or not len(other):
        return None
    found = stats.mannwhitneyu(one, other, alternative="two-sided")
    return {
        "u": float(found.statistic),
        "p": float(found.pvalue),
        "share": _rounded(float(found.statistic) / (len(one) * len(other))),
        "n_high": len(one),
        "n_low": len(other),
    }


def _interval(
    sums: np.ndarray[Any, Any], counts: np.ndarray[Any, Any], seed: int
) -> tuple[float | None, float | None]:
    if len(sums) < 2:
        return None, None

    def ratio(
        one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], axis: int = -1
    ) -> np.ndarray[Any, Any]:
        drawn: np.ndarray[Any, Any] = one.sum(axis=axis) / other.sum(axis=axis)
        return drawn

    found = stats.bootstrap(
        (sums, counts),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=DRAWS,
        batch=DRAWN_AT_ONCE,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return _rounded(float(found.low)), _rounded(float(found.high))


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
