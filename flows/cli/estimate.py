"""`estimate`: what a run will ask, take and cost."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.common import AS_JSON, OVERRIDES, WrittenPath, say

if TYPE_CHECKING:
    from corpus.estimate.forecast import Estimate
    from corpus.estimate.ranges import Range
    from flows.orders import Resolved


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
        _print(asked, found)


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


def _print(asked: "Resolved", found: "Estimate") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    plan = asked.blueprint.plan
    console.print(
        f"{asked.blueprint.recipe.name}: {plan.pair_count:,} pairs in {asked.folder.root}, what is "
        "left of them",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("", "from", "to"):
        table.add_column(column, justify="right" if column else "left")
    for name, figure in found.figures.items():
        table.add_row(name.replace("_", " "), *_in_words(name, figure))
    console.print(table)
    for note in found.notes:
        console.print(note, highlight=False, soft_wrap=True)


def _in_words(name: str, figure: "Range | None") -> tuple[str, str]:
    from flows.display import duration

    if figure is None:
        return "not known", ""
    match name:
        case "wall_seconds" | "audio_seconds":
            return duration(figure.low), duration(figure.high)
        case "disk_bytes":
            return f"{figure.low / 1e9:,.2f} GB", f"{figure.high / 1e9:,.2f} GB"
        case "gpu_hours" | "cost":
            return f"{figure.low:,.2f}", f"{figure.high:,.2f}"
    return f"{figure.low:,.0f}", f"{figure.high:,.0f}"
