"""What several commands share: arguments, options, and the voice on standard error."""

import os
from pathlib import Path

import click


class WrittenPath(click.Path):
    """A path as a person writes it: `~` is the home folder, and blank text is no path."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """The path that is meant."""
        from corpus.errors import InvalidInput
        from corpus.plan.user_input import at_home

        written = os.fspath(value)
        if not written.strip():
            self.fail("no path is given; name one, or leave the option out.", param, ctx)
        try:
            home = at_home(written, "the path")
        except InvalidInput as error:
            self.fail(str(error), param, ctx)
        return super().convert(home, param, ctx)


FOLDER = click.argument("folder", type=WrittenPath(path_type=Path, exists=True, file_okay=False))
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
