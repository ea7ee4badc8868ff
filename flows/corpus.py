"""The corpus flow: from a recipe in a run folder to a dataset folder."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from corpus.run_folder import RunFolder
from flows.artifacts import on_prefects_pages
from flows.work import Work, at_work
from schemas.recipe import Stage


@flow(name="corpus", flow_run_name="{run_dir}", validate_parameters=False)
def build_corpus(run_dir: Path, until: Stage = "shards") -> None:
    """Builds or continues the corpus of a run folder, up to and including a stage.

    The text model writes queries and responses together, near-duplicates are rejected as they
    come, a voice speaks what was accepted, and the rows are packed into a dataset folder.

    Raises:
        SympatheiaError: a stage cannot be finished; whatever was made is kept.
    """
    with at_work(RunFolder(run_dir), until) as work:
        if until != "plan":
            write(work)
        if until in ("speech", "shards"):
            speak(work)
        if until == "shards":
            pack(work)


# A run at work is neither hashed nor stored: what it made is in its store already.


@task(cache_policy=NO_CACHE, persist_result=False)
def write(work: Work) -> None:
    """Has every query written, and every response unless the run ends before them."""
    with on_prefects_pages(work.recipe.name, work.progress, ("queries", "responses")):
        work.texts()


@task(cache_policy=NO_CACHE, persist_result=False)
def speak(work: Work) -> None:
    """Has every accepted text spoken."""
    with on_prefects_pages(work.recipe.name, work.progress, ("speech",)):
        work.speak()


@task(cache_policy=NO_CACHE, persist_result=False)
def pack(work: Work) -> None:
    """Packs texts and clips into the dataset folder."""
    with on_prefects_pages(work.recipe.name, work.progress, ("shards",)):
        work.pack()
