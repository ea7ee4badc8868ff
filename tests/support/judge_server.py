"""A local server of a model that hears: its grades follow from the sound, and it misbehaves on
demand.

What it hears is measured: how loud a clip is, and when.
"""

import math
import random
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from corpus.judge.clip_judge import ClipJudge
from corpus.judge.hearing_probe import WORD
from corpus.judge.rubrics import Rubrics
from corpus.run.open_run import OpenRun
from corpus.servers.retry_and_failover import Endpoints
from corpus.sound.sound_files import decode
from schemas.recipe import HearingJudge
from tests.support.fake_servers import FakeTextServer
from tests.support.line import opened
from tests.support.replies import Body, Reply, completion, hang, seed_of, status

MODEL = "ears"
NONSENSE = (
    "On a 1-5 scale I would say that it is good.",
    "4/5 | It is warm.",
    "The rating: 4|It is warm.",
    "6|It could not be better.",
    "",
)
AUDIBLE = 0.01
"""RMS of a second of sound that is heard."""

Heard = np.ndarray
Truth = Callable[[Heard], int]
"""What a clip's samples are worth."""


def loudness_as_grade(sound: Heard) -> int:
    """A truth that can be planted in a clip of any kind: 1 for a peak up to 0.2, 5 from 0.8 on."""
    return min(5, 1 + int(np.abs(sound).max() * 5))


class JudgeServer(FakeTextServer):
    """A server in a thread of this process; a context manager.

    Args:
        truth: gives the grade of a clip; of two the one with the better grade is preferred.
        nonsense: share of its answers that grade nothing.
        errors: share of requests that end in HTTP 500.
        hangs: share of requests that are never answered.
        hears: seconds of a clip that it hears.
    """

    def __init__(
        self,
        truth: Truth = loudness_as_grade,
        *,
        nonsense: float = 0.0,
        errors: float = 0.0,
        hangs: float = 0.0,
        hears: float = math.inf,
    ) -> None:
        super().__init__(behave=self._hear, models=(MODEL,))
        self.truth = truth
        self.nonsense, self.errors, self.hangs, self.hears = nonsense, errors, hangs, hears
        self.readable: set[int] = set()
        self.unreadable: set[int] = set()
        """The requests that were answered so; one may be sent more than once."""

    def _hear(self, body: Body, n: int) -> Reply:
        drawn = random.Random(n).random()
        if drawn < self.errors + self.hangs:
            return status(500) if drawn < self.errors else hang
        asked = seed_of(body)
        content = random.Random(asked)
        if content.random() < self.nonsense:
            self.unreadable.add(asked)
            return completion(content.choice(NONSENSE))
        self.readable.add(asked)
        return completion(self._answer(body))

    def _answer(self, body: Body) -> str:
        sounds = [sound[: self._samples(rate)] for sound, rate in sounds_of(body)]
        if "|" not in said_in(body):
            return self._late_word(sounds[0])
        grades = [self.truth(sound) for sound in sounds]
        if len(grades) == 1:
            return f"{grades[0]}|It is heard so."
        first, second = grades
        return f"{'tie' if first == second else 'first' if first > second else 'second'}|Hear."

    def _samples(self, rate: int) -> int | None:
        return None if math.isinf(self.hears) else round(self.hears * rate)

    def _late_word(self, sound: Heard) -> str:
        return WORD.title() if np.sqrt(np.square(sound[-24_000:]).mean()) > AUDIBLE else "Silence"


def sounds_of(body: Body) -> Iterator[tuple[Heard, int]]:
    """The sounds of a request, (samples,) and the rate."""
    for part in parts_of(body):
        if part["type"] == "input_audio":
            assert part["input_audio"]["format"] == "wav"
            samples, rate = decode(b64decode(part["input_audio"]["data"]))
            yield samples[:, 0], rate


def said_in(body: Body) -> str:
    """All words of a request."""
    return "\n".join(part["text"] for part in parts_of(body) if part["type"] == "text")


def parts_of(body: Body) -> Iterator[dict[str, Any]]:
    for message in body["messages"]:
        content = message["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def settings_of(server: JudgeServer, kind: type[HearingJudge], **settings: Any) -> Any:
    """A judge's section of the recipe for a server."""
    patience = {"timeout_seconds": 30.0, "patience_seconds": 60.0}
    return kind(endpoints=(server.base_url,), model=MODEL, **(patience | settings))


@asynccontextmanager
async def judge_of(run: OpenRun) -> AsyncIterator[ClipJudge | None]:
    """The judge of a run's recipe, with its servers up; None if it has none."""
    judge = run.blueprint.recipe.speech.judge
    if not judge.model:
        yield None
        return
    async with Endpoints(judge.endpoints, section=judge.SECTION) as pool:
        rubrics, seed = Rubrics(run.blueprint.prompts.folder), run.blueprint.recipe.seed
        yield ClipJudge(judge, rubrics, run.store.grades, opened(pool), seed, run.budget.asking)
