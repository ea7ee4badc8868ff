"""What came of a review: how much was looked at, kept and struck, and where reviewers disagree."""

from collections import Counter, defaultdict
from typing import Any

import pandas as pd

from corpus.evaluation.statistics import mean
from corpus.review.agreement import agreement
from corpus.review.desk import RATINGS
from corpus.review.verdicts import STRIKE, Reviews, Verdicts, in_words, is_struck
from corpus.run.run_folder import RunFolder


def summarise(folder: RunFolder) -> dict[str, Any]:
    """The figures of a run's review; all zero where nobody has said anything yet.

    A text or clip that was struck counts in its place's cell, whether or not a build has put
    another there since.

    Raises:
        InvalidInput: it is no run folder.
        SympatheiaError: the file of verdicts or a table of the run is damaged.
    """
    blueprint = folder.blueprint()
    plan = blueprint.plan
    reviews = Reviews(folder.reviews)
    if reviews.verdicts:
        reviews.settle(folder)
    said = reviews.counting()
    cells = {pair.id: pair.cell for pair in plan.pairs()}
    queries = {pair.id: pair.query.id for pair in plan.pairs()}
    planned = Counter(cells.values())
    for query in plan.queries():  # the rows of a neutral query have ids of their own
        cells.setdefault(query.id, query.cell)
    return {
        "run": blueprint.recipe.name,
        "reviewers": _reviewers(said),
        "items": len(said),
        "struck": sum(is_struck(one) for one in said.values()),
        "pairs": _pairs_heard(said),
        "planned": sum(planned.values()),
        "cells": _cells(said, cells, planned),
        "ratings": _ratings(said, cells, queries),
        "agreement": agreement(in_words(said)),
        "disagreements": _disagreements(said),
    }


def _reviewers(said: Verdicts) -> dict[str, dict[str, int]]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for of in said.values():
        for reviewer, verdict in of.items():
            found[reviewer][verdict.verdict] += 1
    return {name: {"kept": n["keep"], "struck": n["strike"]} for name, n in sorted(found.items())}


def _pairs_heard(said: Verdicts) -> int:
    """Pairs of whose response the sound was judged, now or before another took its place."""
    return len(
        {v.id for (_, role), of in said.items() if role == "response_clip" for v in of.values()}
    )


def _cells(
    said: Verdicts, cells: dict[str, str], planned: Counter[str]
) -> dict[str, dict[str, int]]:
    """Per cell, what of it was kept and struck, and how many of its pairs were looked at."""
    kept: Counter[str] = Counter()
    struck: Counter[str] = Counter()
    looked_at: defaultdict[str, set[str]] = defaultdict(set)
    for of in said.values():
        first = next(iter(of.values()))
        cell = cells.get(first.id)
        if cell is None:  # the recipe has it no more
            continue
        (struck if is_struck(of) else kept)[cell] += 1
        looked_at[cell] |= {verdict.id for verdict in of.values()}
    return {
        cell: {
            "pairs": planned[cell],
            "looked_at": len(looked_at[cell]),
            "kept": kept[cell],
            "struck": struck[cell],
        }
        for cell in dict.fromkeys([*planned, *looked_at])
    }


def _ratings(said: Verdicts, cells: dict[str, str], queries: dict[str, str]) -> dict[str, Any]:
    """Per rating the mean over all, and over each cell, with its interval over queries."""
    rows = [
        {
            "name": name,
            "value": value,
            "cell": cells.get(verdict.id, ""),
            "query": queries.get(verdict.id, verdict.id),
        }
        for of in said.values()
        for verdict in of.values()
        for name, value in verdict.ratings.items()
    ]
    table = pd.DataFrame(rows, columns=["name", "value", "cell", "query"])
    names = dict.fromkeys([*RATINGS, *table["name"]])
    found: dict[str, Any] = {}
    for name in names:
        part = table[table["name"] == name]
        found[name] = {"all": mean(part["value"], part["query"])}
        for cell, of_cell in part.groupby("cell", sort=False):
            found[name][str(cell)] = mean(of_cell["value"], of_cell["query"])
    return found


def _disagreements(said: Verdicts) -> list[dict[str, Any]]:
    """What some keep and others strike, with the notes of these."""
    found = []
    for (digest, role), of in said.items():
        if len({verdict.verdict for verdict in of.values()}) > 1:
            strikes = {n: v.note for n, v in sorted(of.items()) if v.verdict == STRIKE}
            first = next(iter(of.values()))
            item = {"id": first.id, "role": role, "digest": digest}
            found.append(item | {"struck_by": strikes, "kept_by": sorted(set(of) - set(strikes))})
    return found
