"""Work in the background: a coroutine in a thread and an event loop of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, wait

STOP_SECONDS = 3.0
"""How long an interrupted run waits for what is in flight to be let go: a fraction of a second as a
rule, more where sound is being computed."""


class Background:
    """A coroutine that is at work from now on.

    Args:
        begin: makes it, in the thread in which it runs.
    """

    def __init__(self, begin: Callable[[], Coroutine[None, None, None]]) -> None:
        self._begin = begin
        self._ended: Future[None] = Future()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
            self._ended.set_result(None)
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that waits)
            self._ended.set_exception(error)

    async def _main(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running = asyncio.get_running_loop(), task
        await self._begin()

    def result(self) -> None:
        """Returns when it has ended; what it raised is raised here."""
        self._ended.result()

    @staticmethod
    def stop(several: Sequence["Background"]) -> None:
        """Cancels what has not ended, and gives it a moment to let go of what it holds."""
        left = [one for one in several if not one._ended.done()]
        for loop, task in filter(None, (one._running for one in left)):
            loop.call_soon_threadsafe(task.cancel)
        wait([one._ended for one in left], STOP_SECONDS)
