"""A blind listening test: who hears which responses in which order, without knowing whose they are.

As in the paper, a rater is told the emotion and hears what every system answers, in an order drawn
anew each time, and says of each from 1 to 5 how well it fits. Names and files of clips tell
nothing: they are drawn, as long as each other, and encoded alike.
"""

import itertools
import random
import secrets
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from corpus.errors import InvalidInput, SympatheiaError
from corpus.evaluation.systems import System
from corpus.sound.clip_audio import encode_flac
from corpus.sound.sound_files import Undecodable, samples_at
from corpus.store.files import write_whole
from schemas.audio import SAMPLE_RATE

FOLDER = ".listening"
"""Where a test lies in the first system's folder. Its dot keeps it out of what is published."""
KEY, CLIPS = "listening.json", "clips"
NAME_BYTES = 8
"""Of a clip's name: enough that no two of a test are alike, and none can be guessed."""

Target = tuple[str, str]
"""What is responded to: a query, and the emotion that is stated with it."""


class Clip(BaseModel):
    """A clip of a trial: its name, and the system that nobody is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    system: str


class Trial(BaseModel):
    """What a rater hears together.

    Attributes:
        rater: from 1 on.
        number: of the rater's trials, from 1 on.
        query_id: of the query that is answered.
        emotion: that is stated.
        query: its words, if they are known.
        clips: one of each system, in the order in which they are shown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rater: int
    number: int
    query_id: str
    emotion: str
    query: str
    clips: tuple[Clip, ...]


class ListeningTest(BaseModel):
    """A test as it was drawn.

    Attributes:
        test: by which ratings are known to be of it.
        raters: how many.
        queries: for each of them.
        seed: of what was drawn, but the names.
        systems: that are compared.
        trials: every rater's, in order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    test: str
    raters: int
    queries: int
    seed: int
    systems: tuple[str, ...]
    trials: tuple[Trial, ...]

    def of(self, rater: int) -> list[Trial]:
        """The trials of a rater, in order."""
        return [trial for trial in self.trials if trial.rater == rater]


def draw(systems: Sequence[System], raters: int, queries: int, seed: int = 0) -> ListeningTest:
    """A test of some systems: emotions spread evenly over raters, and in them the queries.

    Raises:
        InvalidInput: fewer than two systems, or nothing that all of them have answered.
    """
    compared = [system for system in systems if not system.is_variant]
    if len(compared) < 2:
        raise InvalidInput("A listening test compares at least two systems. Name another folder.")
    targets = _targets(compared)
    chance = random.Random(f"listening {seed}")
    order = _in_turns(targets, raters * queries, chance)
    names = [secrets.token_hex(NAME_BYTES) for _ in range(raters * queries * len(compared))]
    drawn = iter(names)
    trials = []
    for place, target in enumerate(order):
        shown = [system.name for system in compared]
        chance.shuffle(shown)
        trials.append(
            Trial(
                rater=place // queries + 1,
                number=place % queries + 1,
                query_id=target[0],
                emotion=target[1],
                query=targets[target],
                clips=tuple(Clip(name=next(drawn), system=system) for system in shown),
            )
        )
    return ListeningTest(
        test=secrets.token_hex(NAME_BYTES),
        raters=raters,
        queries=queries,
        seed=seed,
        systems=tuple(system.name for system in compared),
        trials=tuple(trials),
    )


def _targets(systems: Sequence[System]) -> dict[Target, str]:
    """What every system has answered, with the query's words where one of them knows these."""
    answered = [_answered(system) for system in systems]
    shared = set.intersection(*(set(rows) for rows in answered))
    if not shared:
        raise InvalidInput(
            "There is no query with an emotion that all of these systems have answered with "
            "sound. Have each respond to the same corpus."
        )
    found: dict[Target, str] = {}
    for target in sorted(shared):
        texts = (rows[target]["query_text"] for rows in answered)
        found[target] = next((text for text in texts if isinstance(text, str)), "")
    return found


def _answered(system: System) -> dict[Target, dict[str, Any]]:
    rows = system.rows[system.rows["status"] == "ok"]
    first = rows.drop_duplicates(["query_id", "emotion"])
    whole = first[pd.notna(first["query_id"]) & pd.notna(first["emotion"])]
    return {(row["query_id"], row["emotion"]): row for row in whole.to_dict("records")}


def _in_turns(targets: dict[Target, str], count: int, chance: random.Random) -> list[Target]:
    """So many targets: emotions in rounds, each in an order of its own, in each emotion queries."""
    by_emotion: defaultdict[str, list[Target]] = defaultdict(list)
    for target in targets:
        by_emotion[target[1]].append(target)
    for found in by_emotion.values():
        chance.shuffle(found)
    queries = {emotion: itertools.cycle(found) for emotion, found in by_emotion.items()}
    order: list[Target] = []
    while len(order) < count:
        emotions = list(by_emotion)
        chance.shuffle(emotions)
        order += [next(queries[emotion]) for emotion in emotions]
    return order[:count]


def prepare(
    folder: Path, systems: Sequence[System], raters: int, queries: int, seed: int = 0
) -> ListeningTest:
    """The test in a folder, drawn and its clips written if it is not there yet.

    Raises:
        InvalidInput: the folder holds another test, or there is nothing to compare.
        SympatheiaError: a response has no sound, or one that cannot be read.
    """
    names = tuple(system.name for system in systems if not system.is_variant)
    if (folder / KEY).is_file():
        test = opened_test(folder)
        if (test.systems, test.raters, test.queries, test.seed) != (names, raters, queries, seed):
            raise InvalidInput(
                f"{folder} holds another listening test, of {', '.join(test.systems)} for "
                f"{test.raters} raters with {test.queries} queries each. Give another folder with "
                "--output, or the same systems and numbers to go on with it."
            )
        return test
    test = draw(systems, raters, queries, seed)
    for system in systems:
        if system.name in test.systems:
            _write_clips(folder, system, test)
    write_whole(folder / KEY, test.model_dump_json(indent=1).encode() + b"\n")
    return test


def _write_clips(folder: Path, system: System, test: ListeningTest) -> None:
    answered = _answered(system)
    wanted: defaultdict[str, list[str]] = defaultdict(list)
    for trial in test.trials:
        name = next(clip.name for clip in trial.clips if clip.system == system.name)
        wanted[answered[trial.query_id, trial.emotion]["id"]].append(name)
    for row_id, sound in system.sounds(wanted.keys()):
        try:
            samples = np.clip(samples_at(sound, SAMPLE_RATE), -1, 1)
        except Undecodable as error:
            raise SympatheiaError(
                f"The response {row_id} of {system.name} cannot be heard ({error}). Have it made "
                "again, or leave the system out."
            ) from error
        for name in wanted.pop(row_id, ()):
            write_whole(clip_path(folder, name), encode_flac(samples))
    if wanted:
        raise SympatheiaError(
            f"The response {next(iter(wanted))} of {system.name} has no sound. Have it made "
            "again, or leave the system out."
        )


def clip_path(folder: Path, name: str) -> Path:
    """Where a clip of a test lies."""
    return folder / CLIPS / f"{name}.flac"


def opened_test(folder: Path) -> ListeningTest:
    """The test in a folder.

    Raises:
        InvalidInput: there is none, or it is damaged.
    """
    path = folder / KEY
    if not path.is_file():
        raise InvalidInput(f"{folder} holds no listening test: there is no {KEY} in it.")
    try:
        return ListeningTest.model_validate(orjson.loads(path.read_bytes()))
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise InvalidInput(
            f"{path} is damaged. Put back a copy: it alone knows whose a clip is."
        ) from error
