"""An evaluation from folders to figures: what is measured of each clip, then of each system."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from corpus.compute.local_or_dask import Workers
from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.embedding.minilm import BUILTIN
from corpus.errors import InvalidInput
from corpus.evaluation.clip_measures import MOS, PROBLEM, STAGE, begin, measured
from corpus.evaluation.judging import STAGE as JUDGE
from corpus.evaluation.judging import Judging, figures, preferences, sets
from corpus.evaluation.measures.intelligibility import RATE, with_word_errors
from corpus.evaluation.measures.measure import Figures
from corpus.evaluation.measures.registry import MEASURES
from corpus.evaluation.measures.sensitivity import RATING, sensitivity
from corpus.evaluation.published import PUBLISHED
from corpus.evaluation.statistics import mean
from corpus.evaluation.systems import System
from corpus.evaluation.workbench import Workbench
from corpus.plan.user_input import one_line
from corpus.run.progress import Progress
from corpus.store.opening import open_store
from schemas.recipe import SERVING
from schemas.recipe_evaluation import Evaluation

SETS, PAIRWISE = "judge_sets", "pairwise"
"""Figures beside those of the measures: the judge's by the paper's sets, and of two systems."""
ALWAYS_THE_SAME = 0.5
"""From this share of one and the same response on a system is named for it."""


@dataclass
class Evaluated:
    """A system with what was measured of its rows.

    Attributes:
        system: as it was opened.
        rows: its rows with everything that was measured.
        figures: of each measure by name, and of the judge.
    """

    system: System
    rows: pd.DataFrame
    figures: Figures = field(default_factory=dict)


@contextmanager
def workbench(
    store: Path, settings: Evaluation, progress: Progress, dask: str = ""
) -> Iterator[Workbench]:
    """What an evaluation works with, until the block ends.

    Args:
        store: the folder that remembers what was computed and asked.
        settings: with what it judges.
        progress: is told of every item.
        dask: the address of a cluster's scheduler, if one is to compute.
    """
    workers = Workers("measures clips", os.cpu_count() or 1, dask, begin)
    with open_store(store) as opened, workers, EmbeddingProcess(BUILTIN, dask) as embedder:
        yield Workbench(settings, opened, workers, embedder, progress)


class Comparison:
    """Systems side by side, step by step: `hear`, then `figure`, then `facts`.

    Args:
        systems: what is compared.
        metrics: the names of the measures that are asked for.
        bench: what is worked with.

    Attributes:
        evaluated: each system with what was measured of it, once it was heard.
    """

    def __init__(self, systems: Sequence[System], metrics: Sequence[str], bench: Workbench) -> None:
        self._systems = systems
        self._metrics = metrics
        self._bench = bench
        self.evaluated: list[Evaluated] = []

    def hear(self) -> None:
        """Measures every clip of the systems, as the measures need it.

        Raises:
            InvalidInput: a model cannot be loaded.
            SympatheiaError: a table is damaged, or a process that measures died.
        """
        kinds = frozenset(
            kind for one in MEASURES if one.name in self._metrics for kind in one.hears
        )
        totals = {system.name: len(system.rows) for system in self._systems}
        self._bench.progress.begin(STAGE, totals)
        self.evaluated = [
            Evaluated(system, measured(system, kinds, self._bench)) for system in self._systems
        ]

    async def grade(self, judging: Judging) -> None:
        """Has the judge grade every response, and compare the systems with the baseline.

        Raises:
            InvalidInput: the baseline is none of the systems.
            SympatheiaError: the judge does not hear a clip to its end, or its servers failed; every
                answer is kept.
        """
        baseline = judging.settings.baseline
        other = next((one.system for one in self.evaluated if one.system.name == baseline), None)
        if baseline and other is None:
            names = ", ".join(one.system.name for one in self.evaluated)
            raise InvalidInput(
                f"{judging.settings.SECTION}.baseline: there is no system '{one_line(baseline)}'; "
                f"{names} are."
            )
        if judging.settings.probe:
            await judging.judge.require_whole_hearing()
        totals = {one.system.name: int(one.rows[PROBLEM].isna().sum()) for one in self.evaluated}
        self._bench.progress.begin(JUDGE, totals)
        for one in self.evaluated:
            one.rows = await judging.grade(one.system, one.rows)
            if other is not None and one.system is not other and not one.system.is_variant:
                table = await judging.compare(one.system, one.rows, other)
                one.figures[PAIRWISE] = preferences(table, baseline, self._bench.seed)

    def figure(self) -> None:
        """Computes the figures of the measures.

        Raises:
            InvalidInput: a model cannot be loaded.
            SympatheiaError: a process that computes died.
        """
        for one in self.evaluated:
            if one.system.is_variant:  # they have figures of their own
                continue
            for measure in MEASURES:
                asked = measure.name in self._metrics
                one.figures[measure.name] = measure.of(one.rows, self._bench) if asked else None
            one.figures[JUDGE] = figures(one.rows, self._bench.seed)
            one.figures[SETS] = sets(one.rows, self._bench.seed)

    def facts(self) -> dict[str, Any]:
        """`evaluation.json`: the figures of every system, differences, and the published ones."""
        bench, mains = self._bench, [one for one in self.evaluated if not one.system.is_variant]
        return {
            "systems": {one.system.name: _system(one, self.evaluated, bench) for one in mains},
            "differences": _differences(mains, bench),
            "measures": list(self._metrics),
            "settings": bench.settings.model_dump(mode="json", exclude={"judge": SERVING}),
            "published": PUBLISHED,
        }


def _system(one: Evaluated, everything: Sequence[Evaluated], bench: Workbench) -> Figures:
    rows, system = one.rows, one.system
    variants = [
        (other.system.condition, other.rows)
        for other in everything
        if other.system.is_variant and other.system.name.startswith(f"{system.name}/")
    ]
    places = rows.drop_duplicates("emotion").set_index("emotion")
    return {
        "kind": system.kind,
        "condition": system.condition or None,
        "rows": len(rows),
        "queries": int(rows["query_id"].nunique()),
        **one.figures,
        **sensitivity([(system.condition, rows), *variants] if variants else [], bench),
        "anchors": {
            str(emotion): {"valence": place["valence"], "arousal": place["arousal"]}
            for emotion, place in places.iterrows()
        },
        "missing": _missing(rows),
        "warnings": list(_warnings(one)),
    }


def _missing(rows: pd.DataFrame) -> dict[str, int]:
    """How many rows lack something, by reason: a problem of the sound, no text, or a status."""
    reasons = rows[PROBLEM].value_counts().to_dict()
    without = rows["text"].isna() | ~rows["text"].fillna("").str.strip().astype(bool)
    if without.any():
        reasons["no_text"] = int(without.sum())
    status = rows["status"][rows["status"].notna() & (rows["status"] != "ok")]
    return {str(k): int(n) for k, n in {**reasons, **status.value_counts().to_dict()}.items()}


def _warnings(one: Evaluated) -> Iterator[str]:
    found = one.figures.get("diversity")
    if found and len(one.rows) > 1 and found["same_text"] >= ALWAYS_THE_SAME:
        share = f"{found['same_text']:.0%}"
        yield f"{one.system.name} gives one and the same response in {share} of its rows."
    silent = one.rows[PROBLEM].notna().mean()
    if silent >= ALWAYS_THE_SAME:
        yield f"{one.system.name} has no sound that can be heard in {silent:.0%} of its rows."


def _differences(mains: Sequence[Evaluated], bench: Workbench) -> dict[str, Any]:
    """By "A - B", the mean difference of each score on the queries and emotions that both have."""
    found = {}
    scored = [(one.system.name, _scores(one, bench)) for one in mains]
    for (name, one), (other_name, other) in combinations(scored, 2):
        both = one.add_suffix("_one").join(other.add_suffix("_other"), how="inner")
        if both.empty:
            continue
        queries = pd.Series(both.index.get_level_values(0), both.index)
        found[f"{name} - {other_name}"] = {
            score: mean(both[f"{score}_one"] - both[f"{score}_other"], queries, bench.seed)
            for score in one.columns
        }
    return found


def _scores(one: Evaluated, bench: Workbench) -> pd.DataFrame:
    """What is scored of single responses, by query and emotion."""
    rows = one.rows
    if rows["heard"].notna().any():
        rows = with_word_errors(rows, bench)
    scores = rows.reindex(columns=["query_id", "emotion", RATING, MOS, RATE, "seconds"])
    return scores.groupby(["query_id", "emotion"]).mean()
