"""The judge that hears: grades clips by rubrics, and says which of two suits better.

Each answer is kept in the store under the digest of its request, so nothing is asked twice, in one
run or in the next. One that cannot be read is asked for again with another seed; one that cannot be
read in any try is told as that and never guessed at. (Errors and hangs of servers are the business
of `corpus.servers.retry_and_failover`.)
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from corpus.errors import SympatheiaError
from corpus.judge.hearing_probe import SILENT_SECONDS, heard, probe_clip
from corpus.judge.hearing_requests import HearingRequest
from corpus.judge.readable_answers import TRIES, Winner, read_grade, read_preference
from corpus.judge.rubrics import HEARING, PAIRWISE, Asked, Rubrics
from corpus.plan.seeds import derive
from corpus.plan.templates import Message
from corpus.servers.chat_requests import send_body
from corpus.servers.retry_and_failover import Open
from corpus.servers.server_errors import beginning
from corpus.store.append_only_records import Records
from schemas.recipe_evaluation import HearingJudge

__all__ = ["Asked", "ClipJudge", "Grade", "Preference"]

RETRY_TEMPERATURE = 0.5
"""The least at which an unreadable answer is asked for again: at 0 no seed changes anything."""

T = TypeVar("T")
Read = Callable[[str], T | None]


@dataclass(frozen=True, slots=True)
class Grade:
    """How a judge grades a clip.

    Attributes:
        rating: 1 to 5; None if no answer could be read.
        why: the judge's sentence; without a rating how its last answer begins.
        answers: how many were needed.
    """

    rating: int | None
    why: str
    answers: int


@dataclass(frozen=True, slots=True)
class Preference:
    """Which of two clips a judge prefers.

    Attributes:
        winner: None if no answer could be read.
        why: the judge's sentence; without a winner how its last answer begins.
        answers: how many were needed.
    """

    winner: Winner | None
    why: str
    answers: int


class ClipJudge:
    """A model that hears, at its servers.

    Args:
        settings: the recipe's section.
        rubrics: what it is asked by.
        grades: of the store; takes its answers.
        open_pool: opens its servers, when there is something to ask.
        seed: of the run; each repeat and each try has one that follows from it.
        asking: room for one request, in a run that has a budget.
    """

    def __init__(
        self,
        settings: HearingJudge,
        rubrics: Rubrics,
        grades: Records,
        open_pool: Open,
        seed: int,
        asking: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self._settings = settings
        self._rubrics = rubrics
        self._grades = grades
        self._pool = open_pool
        self._seed = seed
        self._asking = asking
        self._room = asyncio.Semaphore(settings.concurrency)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def grade(self, asked: Asked, repeat: int, what: str) -> Grade:
        """Grades a clip by its rubric.

        Args:
            asked: the clip, and what the judge is told.
            repeat: which grade of the clip this is, from 0; each is drawn by itself.
            what: what is asked for, as a message would name it.

        Raises:
            EndpointsFailed: the servers failed for longer than the patience, or one refused.
            Undecodable: the clip is no sound file.
        """
        messages, clips = self._rubrics.messages(asked, asked.rubric), (asked.clip,)
        found, answer, answers = await self._ask(messages, clips, repeat, what, read_grade)
        rating, why = found or (None, beginning(answer.encode()))
        return Grade(rating, why, answers)

    async def prefer(self, asked: Asked, other: bytes, what: str) -> Preference:
        """Says which clip suits better: the first, which is `asked`'s, or the other.

        A judge may favour a place, so whoever asks does so in both orders.

        Raises:
            EndpointsFailed, Undecodable: as with `grade`.
        """
        messages, clips = self._rubrics.messages(asked, PAIRWISE), (asked.clip, other)
        found, answer, answers = await self._ask(messages, clips, 0, what, read_preference)
        winner, why = found or (None, beginning(answer.encode()))
        return Preference(winner, why, answers)

    async def require_whole_hearing(self) -> None:
        """Passes if the judge hears what is said after 30 s of a clip; asked once, and kept.

        Raises:
            SympatheiaError: it does not.
            EndpointsFailed: as with `grade`.
        """
        clip = await asyncio.to_thread(probe_clip)
        messages = self._rubrics.messages(Asked(HEARING, "", "", clip), HEARING)
        request = self._request(messages, (clip,), 0, 0)
        answer = await self._answer(request, "the probe of the judge's hearing")
        if heard(answer):
            return
        self._grades.forget(request.digest())  # the server may be mended, and is asked again then
        shown = (await self._pool()).shown(answer)
        section = self._settings.SECTION
        raise SympatheiaError(
            f"The judge '{self._settings.model}' ({section}.model) does not hear a clip to its "
            f"end: of what is said after {SILENT_SECONDS:.0f} s it has '{shown}'. Serve it with "
            "vLLM 0.12 or later, which does not cut sound at 30 s, or set "
            f"{section}.probe = false to have it grade what it hears."
        )

    async def _ask(
        self,
        messages: list[Message],
        clips: tuple[bytes, ...],
        repeat: int,
        what: str,
        read: Read[T],
    ) -> tuple[T | None, str, int]:
        """What is read of the first readable answer, that answer, and which it was."""
        answer = ""
        for tried in range(TRIES):
            request = self._request(messages, clips, repeat, tried)
            answer = await self._answer(request, what)
            if (found := read(answer)) is not None:
                return found, answer, tried + 1
        return None, answer, TRIES

    def _request(
        self, messages: list[Message], clips: tuple[bytes, ...], repeat: int, tried: int
    ) -> HearingRequest:
        settings = self._settings
        least = RETRY_TEMPERATURE if tried else 0.0
        return HearingRequest(
            model=settings.model,
            messages=messages,
            clips=clips,
            temperature=max(settings.temperature, least),
            top_p=settings.top_p,
            max_tokens=settings.max_tokens,
            seed=derive(self._seed, "judge", repeat, tried),
        )

    async def _answer(self, request: HearingRequest, what: str) -> str:
        """The text of an answer, from the store or from the judge."""
        digest = request.digest()
        # Two may ask for the same at the same time; the second finds what the first was told.
        async with self._locks.setdefault(digest, asyncio.Lock()):
            stored = self._grades.get(digest)
            if stored is not None:
                return str(stored["text"])
            async with self._room, self._asking():
                pool = await self._pool()
                body = await asyncio.to_thread(request.body)
                answer = await send_body(pool, body, request.max_tokens, what)
                self._grades.put(digest, answer.to_dict())
        return answer.text
