"""`build`: a corpus, begun or continued."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.common import OVERRIDES, WrittenPath, say
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
def build(recipe: str, run_dir: Path | None, overrides: tuple[str, ...], until: Stage) -> None:
    """Build or continue the corpus of RECIPE, a bundled name (demo, sympatheia-18k) or a file."""
    from flows.orders import resolved
    from flows.services.prefect_server import prefect_api
    from flows.work import at_work
    from schemas.orders import CorpusOrder

    order = CorpusOrder(
        recipe=recipe,
        run_dir=run_dir,
        overrides=overrides,
        until=until,
        report=False,
        check=False,
    )
    with resolved(order) as asked:
        _announce(asked)
        with at_work(asked.folder, asked.blueprint, until) as work:
            work.begin_texts()
            with prefect_api():
                from flows.corpus import build_corpus

                # What is imported stays. The collector would walk through it again and again, a
                # fifth of a second each time, while hundreds of requests wait for the event loop.
                gc.freeze()
                build_corpus(order)
    say(f"Done. {_made(asked.folder, until)}")


def _announce(asked: "Resolved") -> None:
    recipe, plan = asked.blueprint.recipe, asked.blueprint.plan
    own = "a vLLM of its own" if recipe.llm.vllm.python else "the embedded server"
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
