"""The command line. Results go to standard output, progress and errors to standard error."""

import os
import sys
from importlib import import_module

import click

from corpus.errors import InvalidInput, SympatheiaError, in_words
from flows.cli.common import say

GROUPS = {
    "build": ("build", "estimate"),
    "prompts": ("anchors", "preview", "recipe"),
    "look": ("status", "check", "report"),
    "exchange": ("export", "import"),
    "adapter": ("tokenize", "encode", "train"),
    "publish": ("publish", "publish-adapter", "convert-adapter"),
    "serve": ("serve",),
    "deploy": ("deploy",),
}
"""The commands of each module beside this one, which is imported when one of them is asked for."""


class _Commands(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return sorted(name for names in GROUPS.values() for name in names)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        for module, names in GROUPS.items():
            if name in names:
                found = vars(import_module(f"flows.cli.{module}")).values()
                return next(c for c in found if isinstance(c, click.Command) and c.name == name)
        return None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, help="Show the trace of an error.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, asked: _print_release(context) if asked else None,
    help="Show the version, and the digests of the bundled prompts and of the locked packages.",
)
def cli(debug: bool) -> None:
    """Builds corpora of emotion-conditioned spoken dialogue."""


def _print_release(context: click.Context) -> None:
    from corpus.run.release import release

    click.echo(release())
    context.exit()


def _require_utf8(arguments: list[str]) -> None:
    """Ends with a sentence if there is an argument that no file of ours could hold."""
    for argument in arguments:
        try:
            os.fsencode(argument).decode("utf-8")
        except UnicodeError:
            say(f"Error: {argument!a} is not UTF-8. Rename it, or name another.")
            sys.exit(InvalidInput.exit_code)


def main() -> None:
    """Runs the command line and turns every error into a sentence and an exit code."""
    # Wherever it stands: one adds it behind a command that has just failed.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    _require_utf8(arguments)
    try:
        cli.main(arguments, standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(InvalidInput.exit_code)
    except (KeyboardInterrupt, click.Abort):
        say("Stopped. What was saved is kept: run the same command again to continue from there.")
        # Threads that compute would be waited for, and every file is closed by now.
        os._exit(130)
    except SympatheiaError as error:
        if debug:
            raise
        say(f"Error: {in_words(error)}")
        sys.exit(error.exit_code)
    except OSError as error:
        if debug:
            raise
        say(f"Error: {in_words(error)}")
        sys.exit(SympatheiaError.exit_code)
    except Exception as error:  # the last resort: a defect of ours, said as such
        if debug:
            raise
        say(f"Error: {type(error).__name__}: {error}. This is a defect; --debug shows its trace.")
        sys.exit(SympatheiaError.exit_code)
