"""A run at work: its folder opened once, its stages as methods, its texts begun at once.

Writing texts takes hours and needs nothing of Prefect, whose server takes seconds to come up. So
the command line opens the run and begins its texts, and the flow, once it can start, waits for
them. (`benchmarks/startup.py` measures what that is worth.)
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING

from corpus.embeddings import Embedder
from corpus.endpoints import Endpoints
from corpus.plan import Plan
from corpus.progress import Progress
from corpus.prompts import Prompts
from corpus.recipes import recipe_prompts
from corpus.run_folder import RunFolder
from corpus.store import Store
from corpus.text_stage import write_texts
from flows.display import shown
from flows.services import text_servers
from schemas.recipe import STAGES, Recipe, Speech, Stage

if TYPE_CHECKING:  # what speaks is imported when it is its turn, long after the first request
    from corpus.speech import Voice

STOP_SECONDS = 1.0
"""How long an interrupted run waits for its requests in flight to be let go."""

_open: dict[str, "Work"] = {}
"""The runs that this process has open, by folder."""


@contextmanager
def at_work(
    run: RunFolder, until: Stage, adopt: tuple[Recipe, Prompts] | None = None
) -> Iterator["Work"]:
    """A run opened for work up to a stage; the one already open in this process, if there is one.

    Args:
        run: the run's folder.
        until: the last stage.
        adopt: a recipe, with its prompts, that the folder is to take on first.

    Raises:
        InvalidInput: the folder holds the run of another recipe.
        SympatheiaError: another process is at work in the folder.
    """
    key = str(run.root.resolve())
    if key in _open:
        yield _open[key]
        return
    with run.locked():
        if adopt:
            run.adopt(*adopt)
        work = Work(run, until)
        with work.store, shown(work.progress):
            _open[key] = work
            try:
                yield work
            finally:
                del _open[key]
                work.stop()
                work.progress.write()


class Work:
    """The stages of one run, up to and including `until`."""

    def __init__(self, run: RunFolder, until: Stage) -> None:
        self.run = run
        self.until = until
        self.recipe = run.read_recipe()
        self.prompts = recipe_prompts(self.recipe)
        self.plan = Plan(self.recipe, self.prompts)
        self.store = Store(run.store)
        self.progress = Progress(run.progress)
        self._embedder = Embedder(self.recipe.dedup.model)
        self._texts: Future[None] | None = None
        self._writer: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._lay_out()

    def _lay_out(self) -> None:
        """Opens the stages that will run, with every cell's number of slots."""
        queries = Counter(slot.cell for slot in self.plan.queries())
        pairs = Counter(slot.cell for slot in self.plan.pairs())
        totals = {
            "queries": queries,
            "responses": pairs,
            "speech": queries + pairs,
            "shards": pairs,
        }
        for stage in STAGES[1 : STAGES.index(self.until) + 1]:
            self.progress.begin(stage, dict(totals[stage]))

    # Texts

    def begin_texts(self) -> None:
        """Starts to write queries, and responses unless the run ends before them."""
        if self._texts is None and self.until != "plan":
            self._texts = Future()
            threading.Thread(target=self._write, args=(self._texts,), daemon=True).start()

    def load_models(self) -> None:
        """Loads in the calling thread what the text stage computes with.

        For a caller that goes on to import more while the texts are written: two threads must not
        import libraries that know each other at the same time.
        """
        if self.until != "plan":
            self._embedder.load()

    def texts(self) -> None:
        """Returns when every text is written.

        Raises:
            SympatheiaError: some cannot be; whatever was written is kept.
        """
        self.begin_texts()
        if self._texts is not None:
            self._texts.result()

    def _write(self, texts: Future[None]) -> None:
        llm = self.recipe.llm
        try:
            if llm.endpoints:
                asyncio.run(self._write_at(llm.endpoints, None))
            else:
                with text_servers(min(llm.concurrency, os.cpu_count() or 1)) as addresses:
                    asyncio.run(self._write_at(addresses, 1))
            texts.set_result(None)
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that waits)
            texts.set_exception(error)

    async def _write_at(self, addresses: tuple[str, ...], each: int | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._writer = asyncio.get_running_loop(), task
        llm = self.recipe.llm
        pool = Endpoints(
            addresses,
            api_key_env=llm.api_key_env,
            timeout_seconds=llm.timeout_seconds,
            patience_seconds=llm.patience_seconds,
            concurrency=each,
        )
        async with pool:
            await pool.check()
            with self.progress.watching("llm", pool.snapshot, llm.gpus):
                await write_texts(
                    self.run,
                    self.recipe,
                    self.prompts,
                    self.store,
                    pool,
                    self._embedder,
                    self.progress,
                    with_responses=self.until != "queries",
                )

    def stop(self) -> None:
        """Lets go of the requests in flight, if texts are still being written."""
        if self._texts is None or self._texts.done() or self._writer is None:
            return
        loop, task = self._writer
        loop.call_soon_threadsafe(task.cancel)
        wait([self._texts], STOP_SECONDS)

    # Speech and shards

    def speak(self) -> None:
        """Has every accepted text spoken.

        Raises:
            SympatheiaError: some cannot be; whatever was made is kept.
        """
        from corpus.builtin_voice import BuiltinVoice

        if self.recipe.speech.backend == "openai":
            asyncio.run(self._speak_served(self.recipe.speech))
        else:
            with BuiltinVoice(self.recipe.speech) as voice:
                asyncio.run(self._speak_with(voice))

    async def _speak_served(self, speech: Speech) -> None:
        from corpus.speech_client import ServedVoice

        pool = Endpoints(
            speech.endpoints,
            api_key_env=speech.api_key_env,
            timeout_seconds=speech.timeout_seconds,
            patience_seconds=speech.patience_seconds,
            section="speech",
        )
        async with pool:
            await pool.check()
            with self.progress.watching("speech", pool.snapshot, speech.gpus):
                await self._speak_with(ServedVoice(speech.model, pool))

    async def _speak_with(self, voice: "Voice") -> None:
        from corpus.speech import speak_all

        await speak_all(
            self.run,
            self.recipe.speech,
            self.plan,
            self.prompts,
            self.store,
            voice,
            self.progress,
        )

    def pack(self) -> None:
        """Packs texts and clips into the dataset folder."""
        from corpus.builtin_voice import BuiltinVoice
        from corpus.shards import write_corpus

        tts_model = self.recipe.speech.model or BuiltinVoice.model
        write_corpus(self.run, self.recipe, self.prompts, self.store, tts_model, self.progress)
