"""A blind listening test: who hears which responses in which order, without knowing whose they are.

As in the paper, a rater is told the emotion and hears what every system answers, in an order drawn
anew each time, and says of each from 1 to 5 how well it fits. Names and files of clips tell
nothing: they are drawn, as long as each other, and encoded alike.

Among the trials may be attention checks, which look like the others. There a voice says which
number to give: who gives another did not listen.
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
CHECK_EVERY = 10
"""With attention checks, one trial in so many is one, and one at least of each rater's."""
_NUMBERS = ("one", "two", "three", "four", "five")
NAME_BYTES = 8
"""Of a clip's name: enough that no two of a test are alike, and none can be guessed."""

Target = tuple[str, str]
"""What is responded to: a query, and the emotion that is stated with it."""


class Clip(BaseModel):
    """A clip of a trial.

    Attributes:
        name: by which it is asked for.
        system: whose it is, which nobody is told; empty in an attention check.
        asked: the number that an attention check asks for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    system: str
    asked: int | None = None


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
        checks: whether there are attention checks.
        trials: every rater's, in order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    test: str
    raters: int
    queries: int
    seed: int
    systems: tuple[str, ...]
    checks: bool = False
    trials: tuple[Trial, ...]

    def of(self, rater: int) -> list[Trial]:
        """The trials of a rater, in order."""
        return [trial for trial in self.trials if trial.rater == rater]


def draw(
    systems: Sequence[System], raters: int, queries: int, seed: int = 0, *, checks: bool = False
) -> ListeningTest:
    """A test of some systems: emotions spread evenly over raters, and in them the queries.

    Args:
        systems: that are compared; those that are variants of another are left out.
        raters: how many.
        queries: for each of them.
        seed: of what is drawn.
        checks: whether there are attention checks among the trials.

    Raises:
        InvalidInput: fewer than two systems, or nothing that all of them have answered.
    """
    compared = [system for system in systems if not system.is_variant]
    if len(compared) < 2:
        raise InvalidInput("A listening test compares at least two systems. Name another folder.")
    targets = _targets(compared)
    chance = random.Random(f"listening {seed}")
    heard = []
    for target in _in_turns(targets, raters * queries, chance):
        shown = [system.name for system in compared]
        chance.shuffle(shown)
        heard.append((target, [Clip(name=_name(), system=system) for system in shown]))
    by_rater = [heard[begin : begin + queries] for begin in range(0, len(heard), queries)]
    if checks:
        _add_checks(by_rater, len(compared), random.Random(f"checks {seed}"))
    return ListeningTest(
        test=_name(),
        raters=raters,
        queries=queries,
        seed=seed,
        systems=tuple(system.name for system in compared),
        checks=checks,
        trials=tuple(
            Trial(
                rater=rater,
                number=number,
                query_id=target[0],
                emotion=target[1],
                query=targets[target],
                clips=tuple(clips),
            )
            for rater, trials in enumerate(by_rater, start=1)
            for number, (target, clips) in enumerate(trials, start=1)
        ),
    )


def _name() -> str:
    return secrets.token_hex(NAME_BYTES)


def _add_checks(
    by_rater: list[list[tuple[Target, list[Clip]]]], clips: int, chance: random.Random
) -> None:
    """Puts attention checks among the trials of each rater, with as many clips, and none first."""
    for trials in by_rater:
        for _ in range(max(1, round(len(trials) / (CHECK_EVERY - 1)))):
            target, _ = chance.choice(trials)
            asked = [chance.randint(1, len(_NUMBERS)) for _ in range(clips)]
            check = [Clip(name=_name(), system="", asked=number) for number in asked]
            trials.insert(chance.randint(1, len(trials)), (target, check))


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
    folder: Path,
    systems: Sequence[System],
    raters: int,
    queries: int,
    seed: int = 0,
    *,
    checks: bool = False,
) -> ListeningTest:
    """The test in a folder, drawn and its clips written if it is not there yet; see `draw`.

    Raises:
        InvalidInput: the folder holds another test, or there is nothing to compare.
        SympatheiaError: a response has no sound, or one that cannot be read.
    """
    names = tuple(system.name for system in systems if not system.is_variant)
    if (folder / KEY).is_file():
        test = opened_test(folder)
        there = (test.systems, test.raters, test.queries, test.seed, test.checks)
        if there != (names, raters, queries, seed, checks):
            raise InvalidInput(
                f"{folder} holds another listening test, of {', '.join(test.systems)} for "
                f"{test.raters} raters with {test.queries} queries each"
                f"{' and attention checks' if test.checks else ''}. Give another folder with "
                "--output, or the same systems and options to go on with it."
            )
        return test
    test = draw(systems, raters, queries, seed, checks=checks)
    for system in systems:
        if system.name in test.systems:
            _write_clips(folder, system, test)
    _write_checks(folder, test)
    write_whole(folder / KEY, test.model_dump_json(indent=1).encode() + b"\n")
    return test


def _write_checks(folder: Path, test: ListeningTest) -> None:
    """Writes the clips of the attention checks, in the builtin voice."""
    sounds: dict[int, bytes] = {}
    for clip in (clip for trial in test.trials for clip in trial.clips if clip.asked):
        assert clip.asked
        if clip.asked not in sounds:
            sounds[clip.asked] = _instruction(clip.asked)
        write_whole(clip_path(folder, clip.name), sounds[clip.asked])


def _instruction(number: int) -> bytes:
    from corpus.voices.builtin_processes import spoken
    from corpus.voices.builtin_synthesis import SPEAKERS

    said = f"This is not an answer. Please give it the number {_NUMBERS[number - 1]}."
    return encode_flac(spoken(said, speaker=next(iter(SPEAKERS)), valence=0.0, arousal=0.0, seed=0))


def _write_clips(folder: Path, system: System, test: ListeningTest) -> None:
    answered = _answered(system)
    wanted: defaultdict[str, list[str]] = defaultdict(list)
    for trial in test.trials:
        for clip in trial.clips:
            if clip.system == system.name:
                wanted[answered[trial.query_id, trial.emotion]["id"]].append(clip.name)
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
