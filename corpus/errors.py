"""The errors that reach a user, each with the exit code of the command line.

A message is one or two sentences: what went wrong, where, and what to do next.
"""


class SympatheiaError(Exception):
    """The work failed or a gate failed; exit code 1."""

    exit_code = 1


class InvalidInput(SympatheiaError):
    """The user's command, recipe or prompts cannot be used; exit code 2."""

    exit_code = 2


def root_cause(group: ExceptionGroup[Exception]) -> Exception:
    """The first error of a group of tasks: what a user can act on, others being its echoes."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
