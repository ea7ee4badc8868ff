"""The corpus flow: from a recipe in a run folder to a dataset folder."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from corpus.builtin_voice import BuiltinVoice
from corpus.endpoints import Endpoints
from corpus.plan import Plan
from corpus.progress import Progress
from corpus.prompts import Prompts
from corpus.recipes import recipe_prompts
from corpus.run_folder import RunFolder
from corpus.shards import write_corpus
from corpus.speech import Voice, speak_all
from corpus.speech_client import ServedVoice
from corpus.store import Store
from corpus.text_stage import write_texts
from flows.cli import STAGES, Stage
from flows.display import shown
from flows.services import text_servers
from schemas.recipe import Recipe


class Work:
    """A run at work: its folder, recipe, prompts, plan, store and progress."""

    def __init__(self, run: RunFolder, recipe: Recipe, prompts: Prompts) -> None:
        self.run = run
        self.recipe = recipe
        self.prompts = prompts
        self.plan = Plan(recipe, prompts)
        self.store = Store(run.store)
        self.progress = Progress(run.progress)


@flow(name="corpus", flow_run_name="{run_dir}", validate_parameters=False)
def build_corpus(run_dir: Path, until: Stage = "shards") -> None:
    """Builds or continues the corpus of a run folder, up to and including a stage.

    The text model writes queries and responses together, near-duplicates are rejected as they
    come, a voice speaks what was accepted, and the rows are packed into a dataset folder.

    Raises:
        SympatheiaError: a stage cannot be finished; whatever was made is kept.
    """
    with work_in(RunFolder(run_dir)) as work:
        begin(work, until)
        if until != "plan":
            write(work, until)
        if until in ("speech", "shards"):
            speak(work)
        if until == "shards":
            pack(work)


@contextmanager
def work_in(run: RunFolder) -> Iterator[Work]:
    """Opens a run folder for work and shows its progress."""
    recipe = run.read_recipe()
    work = Work(run, recipe, recipe_prompts(recipe))
    with work.store, shown(work.progress):
        try:
            yield work
        finally:
            work.progress.write()


@task(cache_policy=NO_CACHE, persist_result=False)
def begin(work: Work, until: Stage) -> None:
    """Lays out the stages that will run, with every cell's number of slots."""
    queries = Counter(slot.cell for slot in work.plan.queries())
    pairs = Counter(slot.cell for slot in work.plan.pairs())
    totals = {
        "queries": queries,
        "responses": pairs,
        "speech": queries + pairs,
        "shards": pairs,
    }
    for stage in STAGES[1 : STAGES.index(until) + 1]:
        work.progress.begin(stage, dict(totals[stage]))


@task(cache_policy=NO_CACHE, persist_result=False)
def write(work: Work, until: Stage) -> None:
    """Has every query written, and every response unless the run ends before them."""
    llm = work.recipe.llm

    async def texts(addresses: tuple[str, ...], each: int | None) -> None:
        pool = Endpoints(
            addresses,
            api_key_env=llm.api_key_env,
            timeout_seconds=llm.timeout_seconds,
            patience_seconds=llm.patience_seconds,
            concurrency=each,
        )
        async with pool:
            await pool.check()
            await write_texts(
                work.run,
                work.recipe,
                work.prompts,
                work.store,
                pool,
                work.progress,
                with_responses=until != "queries",
            )

    if llm.endpoints:
        asyncio.run(texts(llm.endpoints, None))
    else:
        with text_servers(min(llm.concurrency, os.cpu_count() or 1)) as addresses:
            asyncio.run(texts(addresses, 1))


@task(cache_policy=NO_CACHE, persist_result=False)
def speak(work: Work) -> None:
    """Has every accepted text spoken."""
    speech = work.recipe.speech

    async def clips(voice: Voice) -> None:
        await speak_all(work.run, speech, work.plan, work.prompts, work.store, voice, work.progress)

    async def served_clips() -> None:
        pool = Endpoints(
            speech.endpoints,
            api_key_env=speech.api_key_env,
            timeout_seconds=speech.timeout_seconds,
            patience_seconds=speech.patience_seconds,
            section="speech",
        )
        async with pool:
            await pool.check()
            await clips(ServedVoice(speech.model, pool))

    if speech.backend == "openai":
        asyncio.run(served_clips())
    else:
        with BuiltinVoice(speech) as voice:
            asyncio.run(clips(voice))


@task(cache_policy=NO_CACHE, persist_result=False)
def pack(work: Work) -> None:
    """Packs texts and clips into the dataset folder."""
    tts_model = work.recipe.speech.model or BuiltinVoice.model
    write_corpus(work.run, work.recipe, work.prompts, work.store, tts_model, work.progress)
