"""What several commands share: arguments, options, and the voice on standard error."""

from pathlib import Path

import click

FOLDER = click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
OVERRIDES = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the recipe: dotted KEY, TOML VALUE.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def say(text: str) -> None:
    """Prints for a person, where it is no result: on standard error."""
    click.echo(text, err=True)
