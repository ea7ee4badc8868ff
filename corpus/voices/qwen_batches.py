"""Which texts Qwen3-TTS speaks together, and the processes, one per device, that speak them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NoReturn

from corpus.voices.qwen_model import Facts, Spoken, Utterance, facts, qwen_process, spoken

COLLECT_SECONDS = 0.05
"""How long a device with nothing to do waits for a request's company; a clip takes seconds."""


class Gone(Exception):
    """Who asked does not wait for the answer any more."""


class Ending(Exception):
    """The server ends before the answer is there."""


@dataclass(eq=False, slots=True)
class Job:
    """Utterances that wait to be spoken, together with others or by themselves."""

    batch: Sequence[Utterance]
    together: bool
    gone: Callable[[], Awaitable[bool]]
    done: "asyncio.Future[list[Spoken]]"

    @property
    def length(self) -> int:
        """Characters of the text, which tell how long it takes."""
        return len(self.batch[0].text)


def next_batch(waiting: Sequence[Job], most: int) -> list[Job]:
    """Whom to serve next: who waits longest, with those whose texts are nearest in length.

    A batch lasts as long as its longest text, so unlike lengths waste time.

    Args:
        waiting: In order of arrival; not empty.
        most: Most jobs together. A job that is a client's batch comes alone.
    """
    first = waiting[0]
    if first.together:
        return [first]
    others = [job for job in waiting[1:] if not job.together]
    return [first, *sorted(others, key=lambda job: abs(job.length - first.length))[: most - 1]]


class Line:
    """Where jobs wait until a device takes them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: list[Job] = []
        self._some = asyncio.Event()
        self._collecting = asyncio.Lock()

    async def speak(
        self, batch: Sequence[Utterance], *, together: bool, gone: Callable[[], Awaitable[bool]]
    ) -> list[Spoken]:
        """What a device makes of a request.

        Args:
            batch: One utterance; or several with `together`.
            together: Whether they are spoken as exactly one batch.
            gone: Tells whether the client has gone.

        Raises:
            Gone: The client went before its turn came.
            Ending: The server was told to end, and the time it has for that is over.
            SympatheiaError: The model failed.
            BrokenProcessPool: The process died.
        """
        job = Job(batch, together, gone, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._some.set()
        try:
            return await job.done
        except asyncio.CancelledError:
            raise Ending from None

    async def take(self) -> list[Job]:
        """The next batch whose clients still wait for it; may be empty."""
        async with self._collecting:
            await self._some.wait()
            if 1 < self._most > len(self._waiting) and not self._waiting[0].together:
                await asyncio.sleep(COLLECT_SECONDS)
            jobs = next_batch(self._waiting, self._most)
            self._waiting = [job for job in self._waiting if job not in jobs]
            if not self._waiting:
                self._some.clear()
        for job in jobs:
            if await job.gone():
                job.done.set_exception(Gone())
        return [job for job in jobs if not job.done.done()]


class Device:
    """The process that speaks on one device; replaced when it dies or its model fails."""

    def __init__(self, model: str, device: str) -> None:
        self._model, self._device = model, device
        self._process = qwen_process(model, device)

    def load(self) -> Future[Facts]:
        """Loads the model; the future raises as `corpus.voices.qwen_model.Model` does."""
        return self._process.submit(facts)

    async def work(self, line: Line) -> NoReturn:
        """Speaks what waits in the line, until it is cancelled."""
        while True:
            jobs = await line.take()
            if not jobs:
                continue
            batch = [one for job in jobs for one in job.batch]
            (made,) = await asyncio.gather(self._speak(batch), return_exceptions=True)
            for job in jobs:
                if job.done.done():  # cancelled, as the server is ending
                    continue
                if isinstance(made, BaseException):
                    job.done.set_exception(made)
                else:
                    job.done.set_result([made.pop(0) for _ in job.batch])
            if isinstance(made, BaseException):
                # After an error on a GPU its process may be of no use any more.
                await asyncio.to_thread(self._process.shutdown)
                self._process = qwen_process(self._model, self._device)

    async def _speak(self, batch: list[Utterance]) -> list[Spoken]:
        return await asyncio.get_running_loop().run_in_executor(self._process, spoken, batch)
