"""The corpus flow: from a recipe in a run folder to a dataset folder."""

from functools import lru_cache
from pathlib import Path

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE

from corpus.checks.gates import require_passed
from corpus.checks.inspection import STAGES as LOOKED_AT
from corpus.errors import InvalidInput
from corpus.opened import Corpus
from corpus.run.progress import Progress
from flows.artifacts import fails_in_words, leave_gates, leave_link, on_prefects_pages
from flows.orders import Resolved, resolve
from flows.review_gate import await_review, is_reviewed
from flows.training import require_deployment, start_training
from flows.work import Work, at_work
from schemas.names import STAGES
from schemas.orders import CorpusOrder

DEMO = CorpusOrder()
"""What is built where nothing else is asked for."""


def _name() -> str:
    """What a run is called: its recipe, how much it makes, and where it ends."""
    order = CorpusOrder.model_validate(runtime.flow_run.parameters["order"])
    try:
        blueprint = _resolved(order, runtime.flow_run.id).blueprint
    except InvalidInput:  # the flow, which comes next, fails with it
        return order.recipe
    name, pairs = blueprint.recipe.name, blueprint.plan.pair_count
    return f"{name}, {pairs:,} pairs, until {order.until}"


@lru_cache(maxsize=1)
def _resolved(order: CorpusOrder, _: str) -> Resolved:
    """What a flow run's order means, read once for the run's name and for the run itself."""
    return resolve(order)


@flow(name="corpus", flow_run_name=_name)
@fails_in_words
def build_corpus(order: CorpusOrder = DEMO) -> None:
    """Builds or continues a corpus, up to and including a stage.

    The text model writes queries and responses together, near-duplicates are rejected as they
    come, a voice speaks what is accepted (at once, unless it has to wait for the last text), people
    review it where the order says so, and the rows are packed into a dataset folder. What was made
    is kept: a run that is started again goes on where it stopped.

    Args:
        order: what to build, and what is to be done with it then.

    Raises:
        InvalidInput: the order cannot be met.
        SympatheiaError: a stage cannot be finished, or a gate fails; whatever was made is kept.
    """
    asked = _resolved(order, runtime.flow_run.id)
    if order.then_train:
        require_deployment(order.then_train.deployment)
    while not _built(order, asked):
        assert order.review
        await_review(order.review, asked)
    if order.until == STAGES[-1]:
        _follow(order, asked.blueprint.recipe.name, asked.folder.root)


def _built(order: CorpusOrder, asked: Resolved) -> bool:
    """Builds as far as the order says; gives whether nobody has to review anything first."""
    with at_work(asked.folder, asked.blueprint, order.until) as work:
        if order.until != "plan":
            write(work)
        if order.until in ("speech", "shards"):
            speak(work)
        if order.review and not is_reviewed(order.review, work):
            return False
        if order.until == STAGES[-1]:
            pack(work)
    return True


def _follow(order: CorpusOrder, name: str, folder: Path) -> None:
    """Does what an order asks for once there is a dataset."""
    if order.report:
        report(name, folder)
    if order.check or order.then_train:
        check(name, folder)
    if order.then_train:
        start_training(order.then_train, folder)


# A run at work is neither hashed nor stored: what it made is in its store already.


@task(cache_policy=NO_CACHE, persist_result=False)
def write(work: Work) -> None:
    """Has every query written, and every response unless the run ends before them.

    And what is accepted is spoken meanwhile, unless the voice is to wait.
    """
    with on_prefects_pages(work.name, work.run.progress, work.side_by_side):
        work.texts()


@task(cache_policy=NO_CACHE, persist_result=False)
def speak(work: Work) -> None:
    """Has every accepted text spoken."""
    with on_prefects_pages(work.name, work.run.progress, ("speech",)):
        work.speak()


@task(cache_policy=NO_CACHE, persist_result=False)
def pack(work: Work) -> None:
    """Packs texts and clips into the dataset folder."""
    with on_prefects_pages(work.name, work.run.progress, ("shards",)):
        work.pack()
    leave_link(
        work.name,
        "card",
        (work.run.folder.corpus / "README.md").resolve().as_uri(),
    )


@task(cache_policy=NO_CACHE, persist_result=False)
def report(name: str, run_dir: Path) -> None:
    """Writes the report."""
    leave_link(name, "report", Corpus.open(run_dir).write_report().resolve().as_uri())


@task(cache_policy=NO_CACHE, persist_result=False)
def check(name: str, run_dir: Path) -> None:
    """Has the dataset pass every gate."""
    progress = Progress(None)
    with on_prefects_pages(name, progress, LOOKED_AT):
        outcomes = Corpus.open(run_dir).gates(progress)
    leave_gates(name, outcomes)
    require_passed(outcomes)
