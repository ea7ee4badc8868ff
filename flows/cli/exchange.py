"""To and from the layout of the published pipeline: export, import."""

from pathlib import Path

import click

from flows.cli.common import FOLDER, OVERRIDES, WrittenPath, say


@click.command()
@FOLDER
@click.argument("output", type=WrittenPath(path_type=Path))
@click.option(
    "--format",
    "layout",
    type=click.Choice(["reference", "uro-bench"]),
    default="reference",
    show_default=True,
    help="The layout: that of the published pipeline, or that in which URO-Bench reads the "
    "responses of a system.",
)
def export(folder: Path, output: Path, layout: str) -> None:
    """Write a corpus into OUTPUT as the published pipeline lays it out, WAV files and all.

    With --format uro-bench FOLDER may be a responses folder, too, whose responses are written.
    """
    if layout == "uro-bench":
        from corpus.evaluation import uro_bench

        say(f"{uro_bench.export(folder, output):,} responses of {folder} are in {output}.")
    else:
        from corpus.dataset import published_layout

        say(f"{published_layout.export(folder, output):,} pairs of {folder} are in {output}.")
    click.echo(output)


@click.command("import")
@click.argument("source", type=WrittenPath(path_type=Path, exists=True, file_okay=False))
@click.argument("output", type=WrittenPath(path_type=Path))
@click.option(
    "--recipe",
    default="sympatheia-18k",
    show_default=True,
    help="Says what the corpus is called, which models and voices made it, and its prompts.",
)
@OVERRIDES
def import_(source: Path, output: Path, recipe: str, overrides: tuple[str, ...]) -> None:
    """Read a corpus that the published pipeline made into the dataset folder OUTPUT."""
    from corpus.dataset.published_layout import import_corpus
    from corpus.plan.blueprint import Blueprint

    done = import_corpus(source, output, Blueprint.named(recipe, overrides))
    if done.left_out:
        examples = ", ".join(done.examples)
        say(f"Left out for want of a clip or an answer: {done.left_out:,}, such as {examples}.")
    say(f"{done.pairs:,} pairs are in {output}; 'sympatheia check {output}' tells how good.")
    click.echo(output)
