"""The budget of a run: what `limits` lets it ask for, in its whole life.

Whatever is asked of a server, a text or a clip, asks here first. A run that has reached a limit
waits for what is in flight, which is paid for, and then stops with a sentence. What was used is
read from what is on file, so a run that is continued counts nothing twice.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from corpus.errors import SympatheiaError
from corpus.run.progress import Progress
from corpus.store.digest_store import Store
from schemas.recipe import Recipe

LOOK_EVERY_SECONDS = 0.05
"""How often a run that has reached a limit looks whether its last answers are there."""


class Budget:
    """What a run may still ask for.

    Texts and clips may be asked for in different threads, so it is safe for several.

    Args:
        recipe: has the limits.
        store: holds what was answered until now.
        progress: counts the servers' time.
    """

    def __init__(self, recipe: Recipe, store: Store, progress: Progress) -> None:
        self._limits = recipe.limits
        self._progress = progress
        self._answered = answered(recipe, store) if recipe.limits.requests else 0
        self._in_flight = 0
        self._lock = threading.Lock()

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Room for one request; the block ends when its answer is on file.

        Raises:
            SympatheiaError: a limit is reached, and nothing is in flight any more.
        """
        while not self._enter():
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        try:
            yield
            with self._lock:
                self._answered += 1
        finally:
            with self._lock:
                self._in_flight -= 1

    def _enter(self) -> bool:
        with self._lock:
            reached = self._reached()
            if reached is None:
                self._in_flight += 1
            elif not self._in_flight:
                raise SympatheiaError(reached)
            return reached is None

    def _reached(self) -> str | None:
        """What to say of the limit that is reached; None if none is."""
        limits = self._limits
        if limits.requests and self._answered + self._in_flight >= limits.requests:
            return _sentence("requests", limits.requests, f"{self._answered:,}")
        for name, limit in (("gpu_hours", limits.gpu_hours), ("cost", limits.cost)):
            if limit and (used := self._progress.used(name)) >= limit:
                return _sentence(name, limit, f"{used:,.4g}")
        return None


def _sentence(name: str, limit: float, used: str) -> str:
    return (
        f"limits.{name} is reached: the run has used {used}, and {limit:,} is the limit. Nothing "
        f"is lost: raise it, for example with --set limits.{name}={2 * limit}, and run the same "
        "command again."
    )


def answered(recipe: Recipe, store: Store) -> int:
    """Requests of the run that were answered until now, by what is in its own store."""
    clips = store.clip_measures.own_count if recipe.speech.backend == "openai" else 0
    grades = store.grades.own_count if recipe.speech.judge.model else 0
    return store.completions.own_count + clips + grades
