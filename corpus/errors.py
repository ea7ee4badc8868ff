"""The errors that reach a user, each with the exit code of the command line.

A message is one or two sentences: what went wrong, where, and what to do next.
"""

import errno
import re

_LOGIN = re.compile(r"(?<=://)[^/\s@]+(?=@)")


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


def without_logins(text: str) -> str:
    """A text in which no address shows a user and a password."""
    return _LOGIN.sub("***", text)


def in_words(error: SympatheiaError | OSError) -> str:
    """What an error tells a user; that of a disk is put into a sentence."""
    if isinstance(error, SympatheiaError):
        return without_logins(str(error))
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"The disk is full{where}. Free some space and run the same command again: what was "
            "done is kept."
        )
    return f"{error.strerror or error}{where}. Mend that and run the same command again."
