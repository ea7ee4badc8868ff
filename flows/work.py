"""A run at work: its folder opened once, its stages as methods, its texts begun at once.

Writing texts takes hours and needs nothing of Prefect, whose server takes seconds to come up. So
the command line opens the run and begins its texts, and the flow, once it can start, waits for
them. (`benchmarks/startup.py` measures what that is worth.) Speaking begins with the texts: each is
spoken as soon as it is accepted (`benchmarks/overlap.py`), unless the recipe has the voice wait
(`speech.after_texts`), or the voice needs the same cores.
"""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING

from corpus.compute.background import Background
from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.errors import SympatheiaError, in_words
from corpus.plan.blueprint import Blueprint
from corpus.review.verdicts import struck_in_review
from corpus.run.event_log import logged
from corpus.run.open_run import OpenRun
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.servers.retry_and_failover import REPAIR, Endpoints, EndpointsFailed, Open
from corpus.speech.accepted_texts import LOOK_EVERY_SECONDS, AcceptedTexts
from corpus.store.opening import open_store
from corpus.text.annotation.annotation_stage import STAGE as ANNOTATING
from corpus.text.queries import accepted_text
from corpus.text.text_stage import write_texts
from flows.display import shown
from flows.services.text_servers import REMEDY, VLLM_REMEDY, text_servers, vllm_server
from flows.surroundings import last_words, stopped_by
from schemas.names import STAGES, Stage
from schemas.recipe import HearingJudge, Llm, Speech

if TYPE_CHECKING:  # the voices' libraries, which need not be there to write texts
    from corpus.judge.clip_judge import ClipJudge
    from corpus.speech.clip_requests import Voice

log = logging.getLogger(__name__)

_open: dict[str, "Work"] = {}
"""The runs that this process has open, by folder."""


@contextmanager
def at_work(folder: RunFolder, blueprint: Blueprint, until: Stage) -> Iterator["Work"]:
    """A run opened for work up to a stage; the one already open in this process, if there is one.

    Args:
        folder: the run's folder, which takes on the blueprint.
        blueprint: what is to be made.
        until: the last stage.

    Raises:
        InvalidInput: the folder holds the run of another recipe.
        SympatheiaError: another process is at work in the folder.
    """
    key = os.path.realpath(folder.root)  # of a link to itself too, which `locked` then refuses
    if key in _open:
        yield _open[key]
        return
    with folder.locked():
        blueprint = folder.adopt(blueprint)
        with logged(folder.log), open_store(folder.store, blueprint.recipe.storage.url) as store:
            progress = Progress(folder.progress, store.sync)
            in_review = struck_in_review(folder)
            work = Work(OpenRun(blueprint, folder, store, progress, in_review), until)
            with _told(work), shown(progress):
                _open[key] = work
                try:
                    yield work
                finally:
                    del _open[key]
                    work.stop()
                    progress.close()


@contextmanager
def _told(work: "Work") -> Iterator[None]:
    """Logs that a build began, and how it ended."""
    about = {"recipe": work.name, "until": work.until}
    log.info("build begun", extra=about | {"version": metadata.version("sympatheia-corpus")})
    begun = time.monotonic()
    too_long = {"error": "stopping took too long, and was cut short"}
    try:
        # Prefect is told first, whose server a scheduler may have ended at the same moment.
        with last_words(lambda: log.info("build stopped", extra=about | too_long)):
            yield
    except BaseException as error:
        failed = isinstance(error, Exception) and stopped_by() is None
        ended = "build failed" if failed else "build stopped"
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        log.info(ended, extra=about | {"error": why})
        raise
    log.info("build done", extra=about | {"seconds": round(time.monotonic() - begun, 3)})


class Work:
    """The stages of one run, up to and including `until`."""

    def __init__(self, run: OpenRun, until: Stage) -> None:
        self.run = run
        self.until = until
        self.name = run.blueprint.recipe.name
        self._recipe = run.blueprint.recipe
        self._texts: Background | None = None
        self._speech: Background | None = None
        self._accepted: AcceptedTexts | None = None
        self._all_spoken = False
        if until in ("speech", "shards") and not self._voice_waits():
            self._accepted = AcceptedTexts(partial(accepted_text, run.store))
        self._lay_out(STAGES[1 : STAGES.index(until) + 1])

    def _lay_out(self, stages: Sequence[Stage]) -> None:
        """Opens stages that will run, with every cell's number of slots."""
        plan = self.run.blueprint.plan
        queries = Counter(slot.cell for slot in plan.queries())
        pairs = Counter(slot.cell for slot in plan.pairs())
        totals = {
            "queries": queries,
            "responses": pairs,
            "speech": queries + pairs,
            "shards": pairs,
        }
        for stage in stages:
            self.run.progress.begin(stage, dict(totals[stage]))

    # Texts

    def _voice_waits(self) -> bool:
        """Whether it speaks when all texts are written.

        One that is computed on the cores of this machine does: they embed queries until then.
        """
        recipe = self._recipe
        own_cores = recipe.speech.backend == "builtin" and not recipe.compute.dask
        return recipe.speech.after_texts or own_cores

    def begin(self) -> None:
        """Starts to write queries, and responses unless the run ends before them.

        And to speak them, unless the voice is to wait.
        """
        if self._texts is None and self.until != "plan":
            self._texts = Background(self._write_texts)
            if self._accepted is not None:
                self._speech = Background(partial(self._speak_as_accepted, self._accepted))

    @property
    def side_by_side(self) -> tuple[str, ...]:
        """The stages that are at work while texts are written."""
        spoken = () if self._accepted is None else ("speech",)
        return ("queries", "responses", *spoken, ANNOTATING)

    def texts(self) -> None:
        """Returns when every text is written.

        Raises:
            SympatheiaError: some cannot be; whatever was written is kept.
        """
        self.begin()
        if self._texts is not None:
            self._texts.result()

    async def _write_texts(self) -> None:
        recipe = self._recipe
        with EmbeddingProcess(recipe.dedup.model, recipe.compute.dask) as embedder:
            async with when_needed(self._open_text_servers) as pool:
                await write_texts(
                    self.run,
                    pool,
                    embedder,
                    with_responses=self.until != "queries",
                    accepted=self._accepted,
                )
        if self._accepted is not None:
            self._accepted.end()

    async def _open_text_servers(self, stack: AsyncExitStack) -> Endpoints:
        llm, each, remedy = self._recipe.llm, None, REPAIR
        if llm.vllm.started:
            log_file = self.run.folder.vllm_log
            own = vllm_server(llm.model, llm.vllm, log_file)
            addresses = (await asyncio.to_thread(stack.enter_context, own),)
            # Should it end, it is loaded anew before it answers.
            patience = max(llm.patience_seconds, llm.vllm.ready_seconds)
            llm = llm.model_copy(update={"endpoints": addresses, "patience_seconds": patience})
            remedy = VLLM_REMEDY.format(log=log_file)
        elif not llm.endpoints:
            embedded = text_servers(min(llm.concurrency, os.cpu_count() or 1))
            started = await asyncio.to_thread(stack.enter_context, embedded)
            llm = llm.model_copy(update={"endpoints": started})
            each, remedy = 1, REMEDY
        pool = await open_pool(stack, self.run.progress, llm, "llm", each, remedy)
        await self._require_ready(pool)
        return pool

    async def _require_ready(self, text_servers: Endpoints | None = None) -> None:
        """Looks at what this run needs, before its first request.

        Raises:
            SympatheiaError: something would stop it.
        """
        from corpus.preflight.before_first_request import require_ready
        from corpus.preflight.findings import RunAhead

        ahead = RunAhead(self.run.blueprint, self.run.folder.root, self.until)
        await require_ready(ahead, text_servers)

    def stop(self) -> None:
        """Lets go of what is in flight, if texts are still being written or spoken."""
        Background.stop([one for one in (self._texts, self._speech) if one is not None])

    # Speech and shards

    def speak(self) -> None:
        """Returns when every accepted text is spoken; what the voice cannot say is written anew.

        Raises:
            SympatheiaError: some cannot be; whatever was made is kept.
        """
        begun, self._speech = self._speech, None
        if begun is None:
            asyncio.run(self._speak_all())
        else:
            try:
                begun.result()
            finally:
                Background.stop([begun])
        self._accepted = None
        while not self._all_spoken:
            self._lay_out(STAGES[1 : STAGES.index("speech") + 1])
            self._texts = Background(self._write_texts)
            self._texts.result()
            asyncio.run(self._speak_all())

    async def _speak_as_accepted(self, accepted: AcceptedTexts) -> None:
        """Speaks texts as they are accepted, to the last.

        What stops the voice does not stop the texts, whose servers are paid for, too.
        """
        try:
            await self._speak_all(accepted)
        except (SympatheiaError, OSError) as error:
            if accepted.ended:
                raise
            down = isinstance(error, EndpointsFailed)
            then = "then the voice is tried once more" if down else "then the build stops"
            log.warning("%s The texts are written to their end; %s.", in_words(error), then)
            if not down:
                raise
            while not accepted.ended:
                await asyncio.sleep(LOOK_EVERY_SECONDS)
            await self._speak_all()

    async def _speak_all(self, accepted: AcceptedTexts | None = None) -> None:
        from corpus.speech.speech_stage import speak_all

        async with self._voice() as voice, self._judge() as judge:
            self._all_spoken = await speak_all(self.run, voice, accepted, judge)

    @asynccontextmanager
    async def _voice(self) -> AsyncIterator["Voice"]:
        """The voice of the recipe; its servers, if it has any, are opened when it is to speak."""
        from corpus.speech.builtin_voice import BuiltinVoice
        from corpus.speech.served_voice import ServedVoice

        speech = self._recipe.speech

        async def open_servers(stack: AsyncExitStack) -> Endpoints:
            pool = await open_pool(stack, self.run.progress, speech, "speech")
            await self._require_ready()
            return pool

        if speech.backend == "openai":
            async with when_needed(open_servers) as pool:
                yield ServedVoice(speech.model, pool, speech.concurrency, speech.batch)
        else:
            with BuiltinVoice(speech, self._recipe.compute.dask) as voice:
                yield voice

    @asynccontextmanager
    async def _judge(self) -> AsyncIterator["ClipJudge | None"]:
        """What grades the clips, if the recipe has a judge of them."""
        run, judge = self.run, self._recipe.speech.judge
        if not judge.model:
            yield None
            return
        from corpus.judge.clip_judge import ClipJudge
        from corpus.judge.rubrics import Rubrics

        async def open_servers(stack: AsyncExitStack) -> Endpoints:
            return await open_pool(stack, self.run.progress, judge, judge.SECTION)

        rubrics = Rubrics(run.blueprint.prompts.folder)
        async with when_needed(open_servers) as pool:
            grades, asking = run.store.grades, run.budget.asking
            yield ClipJudge(judge, rubrics, grades, pool, self._recipe.seed, asking)

    def pack(self) -> None:
        """Packs texts and clips into the dataset folder, and copies it where the recipe says."""
        from corpus.dataset.shard_writer import let_go_of_damaged, write_corpus
        from corpus.dataset.storage_copy import copy_out
        from corpus.review.coverage import reviewed_by_people
        from corpus.store.clips import DamagedClip

        try:
            write_corpus(self.run, reviewed_by_people(self.run.folder))
        except DamagedClip:
            let_go_of_damaged(self.run)
            self._lay_out(("speech", "shards"))
            self.speak()
            write_corpus(self.run, reviewed_by_people(self.run.folder))
        if self._recipe.shards.target:
            copy_out(self.run.folder.corpus, self._recipe.shards.target)


async def open_pool(
    stack: AsyncExitStack,
    progress: Progress,
    servers: Llm | Speech | HearingJudge,
    section: str,
    each: int | None = None,
    remedy: str = REPAIR,
) -> Endpoints:
    """A pool of the servers of a section of the recipe, up and on show until the stack is closed.

    Raises:
        InvalidInput: an address cannot be asked, or there is no key.
        EndpointsFailed: no server answers, or one refuses the key.
    """
    pool = Endpoints(
        servers.endpoints,
        api_key_env=servers.api_key_env,
        timeout_seconds=servers.timeout_seconds,
        patience_seconds=servers.patience_seconds,
        concurrency=each,
        section=section,
        remedy=remedy,
    )
    await stack.enter_async_context(pool)
    await pool.check()
    gpus, price = 0, 0.0
    if not isinstance(servers, HearingJudge):
        gpus, price = servers.gpus, servers.gpu_hour_price
    stack.enter_context(progress.watching(section, pool.snapshot, gpus, price))
    return pool


@asynccontextmanager
async def when_needed(
    open_servers: Callable[[AsyncExitStack], Awaitable[Endpoints]],
) -> AsyncIterator[Open]:
    """Gives what opens the servers at its first call; they are closed with the block.

    So a run that has nothing to ask starts no server and needs none to be up.
    """
    opening: asyncio.Future[Endpoints] | None = None
    async with AsyncExitStack() as stack:

        async def pool() -> Endpoints:
            nonlocal opening
            opening = opening or asyncio.ensure_future(open_servers(stack))
            # One caller that is cancelled must not take the servers from the others.
            return await asyncio.shield(opening)

        try:
            yield pool
        finally:
            if opening is not None:
                # A server that is only just coming up is closed like one that is.
                await asyncio.wait([opening])
