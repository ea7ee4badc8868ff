"""The command line. Results go to standard output, progress and errors to standard error."""

import os
import signal
import sys
from importlib import import_module
from typing import NoReturn

import click

from corpus.errors import InvalidInput, SympatheiaError, in_words
from flows.cli.common import say
from flows.surroundings import settle, stoppable, stopped_by

GROUPS = {
    "build": ("build", "estimate"),
    "prompts": ("anchors", "preview", "recipe"),
    "look": ("status", "check", "report", "doctor"),
    "exchange": ("export", "import"),
    "adapter": ("tokenize", "encode", "train", "say", "respond"),
    "publish": ("publish", "publish-adapter", "convert-adapter"),
    "serve": ("serve", "deploy"),
    "evaluate": ("evaluate", "compare", "review", "listen"),
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
    settle()
    # Wherever it stands: one adds it behind a command that has just failed.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    _require_utf8(arguments)
    with stoppable(at_last=_end_stopped):
        _run(arguments, debug=len(arguments) < len(sys.argv) - 1)


def _run(arguments: list[str], *, debug: bool) -> None:
    try:
        cli.main(arguments, standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(InvalidInput.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _end_stopped()
    except Exception as error:
        if stopped_by():  # an echo of it: whoever stops us may stop our servers, too
            _end_stopped()
        if debug:
            raise
        say(f"Error: {_told(error)}")
        sys.exit(error.exit_code if isinstance(error, SympatheiaError) else 1)


def _end_stopped() -> NoReturn:
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    # A server has nothing to continue.
    again = " What was saved is kept: run the same command again to continue from there."
    say("Stopped." if command in ("serve", "review", "listen") else f"Stopped.{again}")
    # Threads that compute would be waited for, and every file is closed by now.
    os._exit(128 + (stopped_by() or signal.SIGINT))


def _told(error: Exception) -> str:
    if isinstance(error, SympatheiaError | OSError):
        return in_words(error)
    # The last resort: a defect of ours, said as such.
    return f"{type(error).__name__}: {error}. This is a defect; --debug shows its trace."
