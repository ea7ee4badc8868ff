"""What raters said in a listening test: a file for each, by a server or by a page handed out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corpus.errors import InvalidInput
from corpus.evaluation.published import PUBLISHED
from corpus.evaluation.statistics import mean
from corpus.plan.user_input import one_line
from corpus.review.listening_test import ListeningTest, opened_test
from corpus.store.files import write_whole

FOLDER = "ratings"

Rating = Annotated[int, Field(ge=1, le=5)]


class Ratings(BaseModel):
    """What one rater said until now.

    Attributes:
        test: of what it is about.
        rater: whose.
        at: when, ISO 8601.
        trials: ratings by name of clip, by number of trial.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    test: str
    rater: Annotated[int, Field(ge=1)]
    at: str
    trials: dict[int, dict[str, Rating]]


def save(folder: Path, test: ListeningTest, ratings: Ratings) -> None:
    """Puts all that a rater said until now on file, in place of what they had.

    Raises:
        InvalidInput: it is of another test, or of clips that the rater does not hear.
        OSError: the disk is full or fails; what stood there is untouched.
    """
    _require_of(test, ratings, "This page")
    path = folder / FOLDER / f"rater-{ratings.rater:02d}.json"
    write_whole(path, ratings.model_dump_json(indent=1).encode() + b"\n")


def saved(folder: Path, rater: int) -> Ratings | None:
    """What a rater has said to the server; None if nothing yet.

    Raises:
        InvalidInput: the file is damaged.
    """
    path = folder / FOLDER / f"rater-{rater:02d}.json"
    return _read(path) if path.is_file() else None


def _read(path: Path) -> Ratings:
    try:
        return Ratings.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = one_line(error.errors(include_url=False)[0]["msg"])
        raise InvalidInput(
            f"{path} holds no ratings ({problem}). Put back a copy, or take it away: then the "
            "summary goes without this rater."
        ) from error


def _require_of(test: ListeningTest, ratings: Ratings, what: str) -> None:
    heard = {trial.number: {clip.name for clip in trial.clips} for trial in test.of(ratings.rater)}
    if ratings.test != test.test or any(
        set(said) - heard.get(number, set()) for number, said in ratings.trials.items()
    ):
        raise InvalidInput(f"{what} is of another listening test. Keep each test's own together.")


def summarise(folder: Path, *, leave_out_failed: bool = False) -> dict[str, Any]:
    """What came of the test in a folder.

    Of a rater with several files the newest rating of each clip counts. Intervals are those of
    another set of raters of the same size.

    Args:
        folder: the test's.
        leave_out_failed: whether raters who failed an attention check are not counted.

    Returns:
        How many of the `raters` asked for have `answered`, the `ratings` given and `expected`; by
        system the mean over all and over each emotion; for every two systems the mean difference
        of what a rater said of them in the same trial; the `published` means; and of `checks`,
        None where there are none, the clips that were `rated` and, by rater who `failed`, how many
        of these they gave another number than it asked for.

    Raises:
        InvalidInput: there is no test, or a file holds no ratings of it.
    """
    test = opened_test(folder)
    table = pd.DataFrame(
        list(_rated(folder, test)),
        columns=["rater", "trial", "emotion", "system", "value", "asked"],
    )
    checks, table = table[table["asked"].notna()], table[table["asked"].isna()]
    wrong = checks[checks["value"] != checks["asked"]].groupby("rater").size()
    if leave_out_failed:
        table = table[~table["rater"].isin(wrong.index)]
    by_trial = table.pivot(index=["rater", "trial"], columns="system", values="value")
    by_trial = by_trial.reindex(columns=list(test.systems))
    who = by_trial.index.get_level_values("rater").to_series(index=by_trial.index)
    pairs = [(a, b) for n, a in enumerate(test.systems) for b in test.systems[n + 1 :]]
    failed = {str(rater): int(count) for rater, count in wrong.items()}
    return {
        "raters": test.raters,
        "answered": int(table["rater"].nunique()),
        "ratings": len(table),
        "expected": test.raters * test.queries * len(test.systems),
        "systems": {name: _means(table[table["system"] == name]) for name in test.systems},
        "differences": [
            {"a": a, "b": b, "difference": mean(by_trial[a] - by_trial[b], who)} for a, b in pairs
        ],
        "published": PUBLISHED["listening"],
        "checks": {"rated": len(checks), "failed": failed, "left_out": leave_out_failed}
        if test.checks
        else None,
    }


def _means(rows: pd.DataFrame) -> dict[str, Any]:
    emotions = {
        str(emotion): mean(part["value"], part["rater"])
        for emotion, part in rows.groupby("emotion")
    }
    return {"all": mean(rows["value"], rows["rater"]), "emotions": emotions}


def _rated(
    folder: Path, test: ListeningTest
) -> Iterator[tuple[int, int, str, str, int, int | None]]:
    """Rater, trial, emotion, system, value and what was asked for, of every clip that was rated."""
    files = []
    for path in sorted((folder / FOLDER).glob("*.json")):
        ratings = _read(path)
        _require_of(test, ratings, str(path))
        files.append(ratings)
    newest: dict[tuple[int, int], dict[str, int]] = {}
    for ratings in sorted(files, key=lambda one: one.at):
        for number, said in ratings.trials.items():
            newest.setdefault((ratings.rater, number), {}).update(said)
    for trial in test.trials:
        said = newest.get((trial.rater, trial.number), {})
        for clip in trial.clips:
            if clip.name in said:
                whose = trial.rater, trial.number, trial.emotion, clip.system
                yield *whose, said[clip.name], clip.asked
