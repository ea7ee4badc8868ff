"""The flow of an evaluation: what is heard, what the judge says, the figures, the page."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import click
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from corpus.dataset.dataset_card import add_figures
from corpus.evaluation.evaluation import Comparison, workbench
from corpus.evaluation.evaluation_folder import EvaluationFolder
from corpus.evaluation.judging import Judging
from corpus.evaluation.measures.registry import JUDGE
from corpus.evaluation.systems import anchors_of, open_systems
from corpus.evaluation.workbench import Workbench
from corpus.judge.clip_judge import ClipJudge
from corpus.judge.rubrics import Rubrics
from corpus.report.evaluation_page import write_page
from corpus.report.evaluation_tables import of_corpus
from corpus.report.report_data import Facts
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.run.up_to_date import Stamp
from corpus.servers.retry_and_failover import Endpoints
from flows.artifacts import fails_in_words, leave_link
from flows.display import shown
from flows.work import open_pool, when_needed
from schemas.names import EVALUATION
from schemas.orders import EvaluationOrder


@flow(name="evaluation", flow_run_name="evaluation of {order.folders[0].name}")
@fails_in_words
def evaluate_systems(order: EvaluationOrder) -> Path:
    """Judges systems side by side by what they have answered, or goes on where that was stopped.

    Args:
        order: the folders of the systems, the measures and their settings.

    Returns:
        The path of the figures; the page lies beside them.

    Raises:
        InvalidInput: a folder holds nothing to evaluate, or a model cannot be loaded.
        SympatheiaError: a folder is damaged, a process died or the servers failed; what was
            computed and asked is kept.
    """
    asked = EvaluationFolder.of(order)
    systems = open_systems(asked.folders, asked.settings)
    progress, memory = Progress(None), asked.memory
    with (
        memory.locked(),
        workbench(memory.store, asked.settings, progress, asked.dask) as bench,
        shown(progress),
    ):
        comparison = Comparison(systems, asked.metrics, bench)
        hear(comparison)
        if JUDGE in asked.metrics and asked.settings.judge.model:
            grade(comparison, asked, bench)
        figure(comparison)
        page = write(comparison, asked)
    leave_link("evaluation", "page", page.resolve().as_uri())
    return asked.target / EVALUATION


@task(cache_policy=NO_CACHE, persist_result=False)
def hear(comparison: Comparison) -> None:
    """Measures every clip."""
    comparison.hear()


@task(cache_policy=NO_CACHE, persist_result=False)
def grade(comparison: Comparison, asked: EvaluationFolder, bench: Workbench) -> None:
    """Has a model that hears grade the responses."""
    asyncio.run(_grade(comparison, asked, bench))


async def _grade(comparison: Comparison, asked: EvaluationFolder, bench: Workbench) -> None:
    settings = asked.settings.judge

    async def open_servers(stack: AsyncExitStack) -> Endpoints:
        return await open_pool(stack, bench.progress, settings, settings.SECTION)

    rubrics = Rubrics(asked.prompts)
    async with when_needed(open_servers) as pool:
        judge = ClipJudge(settings, rubrics, bench.store.grades, pool, bench.seed)
        anchors = anchors_of(asked.folders)
        await comparison.grade(Judging(settings, judge, anchors, bench.progress))


@task(cache_policy=NO_CACHE, persist_result=False)
def figure(comparison: Comparison) -> None:
    """Computes the figures of every measure."""
    comparison.figure()


def tell_card(folder: Path, facts: Facts, comparison: Comparison) -> None:
    """Puts a run's own figures into the card of its dataset."""
    run = RunFolder(folder)
    name = next(one.system.name for one in comparison.evaluated if one.system.folder == folder)
    found = of_corpus(facts, name)
    if found is None or not run.corpus.is_dir():
        return
    if run.busy:
        click.echo(f"A build is at work in {folder}: its card is left as it is.", err=True)
        return
    with run.locked():
        changed = add_figures(run.corpus, ("", "measured"), found.rows)
        Stamp(run.corpus_stamp, run.corpus).changed(changed)


@task(cache_policy=NO_CACHE, persist_result=False)
def write(comparison: Comparison, asked: EvaluationFolder) -> Path:
    """Writes the figures and the page; gives the path of the page."""
    facts = comparison.facts()
    for system in facts["systems"].values():
        for warning in system["warnings"]:
            click.echo(warning, err=True)
    asked.write(facts)
    for folder in asked.folders:
        tell_card(folder, facts, comparison)
    return write_page(facts, comparison.evaluated, asked.page)
