"""Means with intervals and correlations, against what is known of them by other ways."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from corpus.evaluation.statistics import by_anchor, high_against_low, mean, rank_correlation


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation_where_rows_are_independent():
    values = pd.Series(np.random.default_rng(1).normal(3.0, 1.0, 2_000))
    found = mean(values, pd.Series(values.index.astype(str)))
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert found["n"] == 2_000
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-4)
    assert found["low"] == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert found["high"] == pytest.approx(values.mean() + error, abs=0.1 * error)


def test_rows_of_one_query_count_as_one_draw():
    queries = pd.Series(np.repeat(np.arange(40), 25).astype(str))
    values = pd.Series(np.repeat(np.random.default_rng(2).normal(0.0, 1.0, 40), 25))
    wide = mean(values, queries)
    narrow = mean(values, pd.Series(values.index.astype(str)))
    assert wide["high"] - wide["low"] > 3 * (narrow["high"] - narrow["low"])


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    draw, held = np.random.default_rng(5), 0
    for number in range(200):
        values = pd.Series(draw.normal(2.0, 1.0, 60))
        found = mean(values, pd.Series(values.index.astype(str)), seed=number)
        held += found["low"] <= 2.0 <= found["high"]
    assert 178 <= held <= 199  # 95 % of 200, and what a percentile interval of 60 rows lacks


def test_what_is_missing_is_left_out_and_counted_by_n():
    values, queries = pd.Series([1.0, None, 3.0]), pd.Series(["a", "b", "c"])
    assert mean(values, queries)["n"] == 2
    assert mean(pd.Series([None, None]), pd.Series(["a", "b"])) is None
    alone = mean(pd.Series([4.0]), pd.Series(["a"]))
    assert (alone["mean"], alone["low"], alone["high"]) == (4.0, None, None)


def test_the_mean_over_emotions_counts_a_rare_one_as_much():
    rows = pd.DataFrame({"query_id": list("abcd"), "emotion": ["sad", "sad", "sad", "angry"]})
    found = by_anchor(pd.Series([1.0, 1.0, 1.0, 5.0]), rows)
    assert found["all"]["mean"] == 2.0
    assert found["over_emotions"]["mean"] == 3.0
    assert found["angry"]["mean"] == 5.0


def test_a_rank_correlation_is_scipys_on_what_both_have():
    draw = np.random.default_rng(4)
    one = pd.Series(draw.normal(size=50))
    other = one + draw.normal(size=50)
    one[7] = None
    found = rank_correlation(one, other)
    expected = stats.spearmanr(one.drop(7), other.drop(7))
    assert found == {"rho": round(expected.statistic, 4), "p": expected.pvalue, "n": 49}
    assert rank_correlation(pd.Series([1.0] * 9), pd.Series(range(9)))["rho"] is None


def test_groups_that_do_not_overlap_are_told_apart():
    found = high_against_low([4, 5, 6, 7], [0, 1, 2, None])
    assert found["share"] == 1.0 and found["n_low"] == 3
    assert found["p"] == pytest.approx(stats.mannwhitneyu([4, 5, 6, 7], [0, 1, 2]).pvalue)
    assert high_against_low([], [1.0]) is None
