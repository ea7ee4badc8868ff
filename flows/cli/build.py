"""`build`, a corpus begun or continued, and `estimate`, what that takes."""

import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.common import AS_JSON, OVERRIDES, WrittenPath, say
from schemas.names import STAGES, Stage

if TYPE_CHECKING:  # imported where they are used, so that help and refusals come at once
    from corpus.run.run_folder import RunFolder
    from flows.orders import Resolved


@click.command()
@click.argument("recipe")
@click.option(
    "--run-dir",
    type=WrittenPath(path_type=Path, file_okay=False),
    help="Where the run keeps its work; runs/NAME if not given.",
)
@OVERRIDES
@click.option("--until", type=click.Choice(STAGES), default=STAGES[-1], help="The last stage.")
@click.option(
    "--require-review",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Pack nothing until people have reviewed this share of each cell, such as 0.1.",
)
def build(
    recipe: str,
    run_dir: Path | None,
    overrides: tuple[str, ...],
    until: Stage,
    require_review: float | None,
) -> None:
    """Build or continue the corpus of RECIPE, a bundled name (demo, sympatheia-18k) or a file."""
    from flows.orders import resolved
    from flows.services.prefect_server import prefect_api
    from flows.work import at_work
    from schemas.orders import CorpusOrder, ReviewFirst

    order = CorpusOrder(
        recipe=recipe,
        run_dir=run_dir,
        overrides=overrides,
        until=until,
        review=ReviewFirst(required=require_review, wait=False) if require_review else None,
        report=False,
        check=False,
    )
    with resolved(order) as asked:
        _announce(asked)
        with at_work(asked.folder, asked.blueprint, until) as work:
            work.begin()
            with prefect_api():
                from flows.corpus import build_corpus

                # What is imported stays. The collector would walk through it again and again, a
                # fifth of a second each time, while hundreds of requests wait for the event loop.
                gc.freeze()
                build_corpus(order)
    say(f"Done. {_made(asked.folder, until)}")


def _announce(asked: "Resolved") -> None:
    recipe, plan = asked.blueprint.recipe, asked.blueprint.plan
    own = "a vLLM of its own" if recipe.llm.vllm.started else "the embedded server"
    servers = ", ".join(recipe.llm.endpoints) or own
    voices = ", ".join(recipe.speech.endpoints) or "the builtin voice"
    say(f"{recipe.name}: {plan.pair_count:,} pairs from {plan.query_count:,} queries")
    say(f"  prompts  {asked.blueprint.prompts.folder}, templates '{recipe.llm.templates}'")
    say(f"  texts    {recipe.llm.model} at {servers}")
    say(f"  speech   {voices}")
    say(f"  folder   {asked.folder.root}")


def _made(run: "RunFolder", until: Stage) -> str:
    match until:
        case "plan":
            return f"The resolved recipe is {run.recipe}."
        case "queries":
            return f"The queries are in {run.queries}."
        case "responses":
            return f"The texts are in {run.queries.parent}."
        case "speech":
            return f"The clips are in {run.store}, listed in {run.clips}."
    return f"The dataset is {run.corpus}; what was refused is in {run.rejects}."


@click.command()
@click.argument("recipe")
@click.option(
    "--run-dir",
    type=WrittenPath(path_type=Path, file_okay=False),
    help="Where the run keeps its work, or will; runs/NAME if not given.",
)
@OVERRIDES
@click.option(
    "--probe",
    type=click.IntRange(1),
    metavar="N",
    help="Make about N pairs first, of every cell; they belong to the run.",
)
@AS_JSON
def estimate(
    recipe: str,
    run_dir: Path | None,
    overrides: tuple[str, ...],
    probe: int | None,
    as_json: bool,
) -> None:
    """Estimate what the rest of a run of RECIPE asks for, takes and costs.

    By what the run has on file, and by rules of thumb where that is too little.
    """
    from corpus.estimate.forecast import estimate as forecast
    from flows.cli.status_tables import print_estimate
    from flows.orders import resolve
    from schemas.orders import CorpusOrder

    order = CorpusOrder(
        recipe=recipe, run_dir=run_dir, overrides=overrides, report=False, check=False
    )
    asked = resolve(order)
    if probe:
        _make(asked, probe)
    found = forecast(asked.blueprint, asked.folder)
    if as_json:
        click.echo(json.dumps(found.as_data(), indent=2))
    else:
        print_estimate(asked, found)


def _make(asked: "Resolved", pairs: int) -> None:
    """Makes so many pairs with their clips, in the run's own folder."""
    from corpus.estimate.probe import outgrown, probe_of
    from flows.work import at_work

    probe = probe_of(asked.blueprint, pairs)
    if outgrown(asked.folder, probe):
        say(f"No probe is made: the run in {asked.folder.root} has begun and is larger than that.")
        return
    say(f"A probe of {probe.plan.pair_count:,} pairs is made in {asked.folder.root}.")
    with at_work(asked.folder, probe, "speech") as work:
        work.texts()
        work.speak()
