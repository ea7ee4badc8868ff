"""What a model that hears thinks of the responses: grades by rubric, and systems two by two.

A response that the judge's answers could not be read for has no grade, and is counted; so is one
that has no sound. Neither is guessed at, and neither is left out of sight.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd

from corpus.errors import root_cause
from corpus.evaluation.clip_measures import PROBLEM
from corpus.evaluation.measures.measure import Figures
from corpus.evaluation.measures.sensitivity import RATING
from corpus.evaluation.statistics import by_anchor, mean
from corpus.evaluation.systems import System
from corpus.judge.clip_judge import Asked, ClipJudge
from corpus.judge.rubrics import rubric_for
from corpus.run.progress import Progress
from schemas.prompts import Anchor
from schemas.recipe_evaluation import EvaluationJudge
from schemas.slots import EMOTIONAL, NEUTRAL, SUBSETS

STAGE, PAIRS = "judge", "judge, two by two"
RUBRIC, READ, ANSWERS, WHY = "rubric", "read", "answers", "why"
"""Columns that are added to a system's rows, beside `RATING`: the rubric, how many repeats could be
read, how many answers all of them took, and the judge's sentence."""
AT_ONCE = 64
"""Clips of either of two systems in memory, while they are compared."""

WON, LOST, TIE = 1.0, 0.0, 0.5
"""What a comparison counts for the first of two systems."""


@dataclass(frozen=True, slots=True)
class Judging:
    """The judge at work on systems.

    Args:
        settings: the recipe's section.
        judge: asks it.
        anchors: by name, for what is felt at each.
        progress: is told of every grade.
    """

    settings: EvaluationJudge
    judge: ClipJudge
    anchors: Mapping[str, Anchor]
    progress: Progress

    async def grade(self, system: System, rows: pd.DataFrame) -> pd.DataFrame:
        """A system's rows with the grades of its responses.

        Raises:
            EndpointsFailed: the servers failed for longer than the patience, or one refused.
            SympatheiaError: a table is damaged.
        """
        found: dict[str, dict[str, Any]] = {}

        async def one(row_id: str, sound: bytes) -> None:
            row = rows.loc[row_id]
            asked = self._asked(row, sound)
            grades = [
                await self.judge.grade(asked, repeat, f"the grade of {system.name}, {row_id}")
                for repeat in range(self.settings.repeats)
            ]
            ratings = [grade.rating for grade in grades if grade.rating is not None]
            found[row_id] = {
                RATING: sum(ratings) / len(ratings) if ratings else None,
                READ: len(ratings),
                ANSWERS: sum(grade.answers for grade in grades),
                WHY: grades[0].why,
            }
            self.progress.filled(STAGE, system.name)

        whole = rows[rows[PROBLEM].isna()]
        await self._each(system.sounds(set(whole["id"])), one)
        columns = [RATING, READ, ANSWERS, WHY]
        table = pd.DataFrame.from_dict(found, orient="index").reindex(rows.index, columns=columns)
        rubrics = [rubric_for(row.subset, row.emotion) for row in rows.itertuples()]
        return rows.join(table.assign(**{RUBRIC: rubrics}))

    async def compare(self, system: System, rows: pd.DataFrame, baseline: System) -> pd.DataFrame:
        """Has each response of a system compared with the baseline's to the same query and emotion.

        Both orders are asked, for a judge may favour a place. What came of it is for `preferences`.

        Raises:
            EndpointsFailed, SympatheiaError: as with `grade`.
        """
        places = {
            (row.query_id, row.emotion): row.id for row in baseline.rows.itertuples(index=False)
        }
        theirs = {
            row.id: places[row.query_id, row.emotion]
            for row in rows[rows[PROBLEM].isna()].itertuples(index=False)
            if (row.query_id, row.emotion) in places
        }
        found: dict[str, dict[str, Any]] = {}

        async def one(row_id: str, sound: bytes, other: bytes) -> None:
            row, what = rows.loc[row_id], f"the comparison of {system.name}, {row_id}"
            first = await self.judge.prefer(self._asked(row, sound), other, what)
            second = await self.judge.prefer(self._asked(row, other), sound, what)
            worth = {"first": WON, "second": LOST, "tie": TIE}
            turned = {"first": LOST, "second": WON, "tie": TIE}
            scores = [
                values[preference.winner]
                for preference, values in ((first, worth), (second, turned))
                if preference.winner is not None
            ]
            found[row_id] = {
                "score": sum(scores) / len(scores) if scores else None,
                "agreed": len(scores) == 2 and scores[0] == scores[1],
                READ: len(scores),
                ANSWERS: first.answers + second.answers,
            }
            self.progress.filled(PAIRS, system.name)

        self.progress.begin(PAIRS, {system.name: len(theirs)})
        await self._each(_side_by_side(system, baseline, theirs), one)
        columns = ["score", "agreed", READ, ANSWERS]
        table = pd.DataFrame.from_dict(found, orient="index").reindex(columns=columns)
        return rows[["query_id", "emotion"]].join(table, how="inner")

    async def _each(
        self, clips: Iterator[tuple[Any, ...]], one: Callable[..., Awaitable[None]]
    ) -> None:
        """Does something with every clip, so many side by side as may be in flight."""
        next_one = asyncio.Lock()

        async def work() -> None:
            while True:
                async with next_one:  # read from the disk, so that few are in memory
                    clip = await asyncio.to_thread(next, clips, None)
                if clip is None:
                    return
                await one(*clip)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.settings.concurrency):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise root_cause(errors) from None

    def _asked(self, row: pd.Series, sound: bytes) -> Asked:
        anchor = self.anchors.get(row["emotion"])
        words = row["query_text"] if isinstance(row["query_text"], str) else None
        return Asked(
            rubric=rubric_for(row["subset"], row["emotion"]),
            emotion=row["emotion"],
            feeling=anchor.feeling if anchor else row["emotion"],
            clip=sound,
            point=(row["valence"], row["arousal"]) if self.settings.coordinates else None,
            query=words if self.settings.query_words else None,
        )


def _side_by_side(
    system: System, baseline: System, theirs: Mapping[str, str]
) -> Iterator[tuple[str, bytes, bytes]]:
    """Id and sound of a system's responses, each with the baseline's; none that either lacks."""
    ids = iter(theirs)
    while part := list(islice(ids, AT_ONCE)):
        others = dict(baseline.sounds({theirs[row_id] for row_id in part}))
        for row_id, sound in system.sounds(set(part)):
            if theirs[row_id] in others:
                yield row_id, sound, others[theirs[row_id]]


def figures(rows: pd.DataFrame, seed: int) -> Figures | None:
    """By rubric, the mean over all and by anchor, the share of answers that could be read.

    `parse_rate` is that share; `failed` how many responses have no grade for want of a readable
    answer, `unheard` for want of sound.
    """
    if RATING not in rows or not rows[ANSWERS].notna().any():
        return None
    found: Figures = {}
    for rubric, part in rows.groupby(RUBRIC, sort=False):
        answers = part[ANSWERS].sum()
        found[str(rubric)] = {
            **by_anchor(part[RATING], part, seed),
            "parse_rate": round(float(part[READ].sum() / answers), 4) if answers else None,
            "failed": int((part[READ] == 0).sum()),
            "unheard": int(part[ANSWERS].isna().sum()),
        }
    return found


def sets(rows: pd.DataFrame, seed: int) -> Figures | None:
    """The same grades as in the paper's tables: by set, and of the neutral one by emotion."""
    if RATING not in rows or not rows[RATING].notna().any():
        return None
    found: Figures = {"all": mean(rows[RATING], rows["query_id"], seed)}
    others = (name for name in SUBSETS if name in set(rows["subset"]))
    for subset in dict.fromkeys((NEUTRAL, EMOTIONAL, *others)):
        part = rows[rows["subset"] == subset]
        found[subset] = mean(part[RATING], part["query_id"], seed)
    neutral = rows[rows["subset"] == NEUTRAL]
    shown = neutral if neutral[RATING].notna().any() else rows
    found["by_emotion"] = by_anchor(shown[RATING], shown, seed)
    return found


def preferences(table: pd.DataFrame, baseline: str, seed: int) -> Figures:
    """How often a system is preferred to the baseline; a tie counts half."""
    scores = table["score"]
    answers = table[ANSWERS].sum()
    return {
        "against": baseline,
        "win_rate": by_anchor(scores, table, seed),
        "wins": int((scores > TIE).sum()),
        "ties": int((scores == TIE).sum()),
        "losses": int((scores < TIE).sum()),
        "agreed": round(float(table["agreed"].mean()), 4) if len(table) else None,
        "parse_rate": round(float(table[READ].sum() / answers), 4) if answers else None,
    }
