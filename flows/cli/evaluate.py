"""The commands that judge what was made, or hold two corpora against each other."""

import json
from pathlib import Path

import click

from flows.cli.common import AS_JSON, WrittenPath, say


@click.command()
@click.argument("a", type=WrittenPath())
@click.argument("b", type=WrittenPath())
@click.option(
    "--output",
    type=WrittenPath(path_type=Path, file_okay=False),
    help="A folder for comparison.html, a page to read and listen to, and comparison.json.",
)
@AS_JSON
def compare(a: str, b: str, output: Path | None, as_json: bool) -> None:
    """Show what moved from A to B, and by how much: rows, texts, clips, anchors, figures.

    A and B are run folders, dataset folders, or NAMESPACE/NAME@TAG on the Hugging Face Hub, which
    are fetched into its cache; without @TAG the newest commit is taken. They may be two states of
    one corpus or two corpora. The exit code is 0 whatever differs.
    """
    from corpus.report.comparison_data import Side, gather_comparison
    from flows.cli.status_tables import print_comparison

    one, other = Side.named(a), Side.named(b)
    say(f"Comparing {a} with {b}")
    facts = gather_comparison(one, other)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        print_comparison(facts)
    if output is not None:
        from corpus.report.comparison_page import write_comparison

        say(f"Written: {write_comparison(one, other, facts, output)}")
