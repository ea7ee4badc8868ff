"""What people write by hand: its text, the paths in it, and in words what is wrong with it."""

import codecs
import re
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from corpus.errors import InvalidInput
from schemas.prompts import CLASH

MOST_TOLD = 10
"""Problems of one file that are told at once; more than these nobody mends in one go."""

LONGEST_SHOWN = 80
"""Characters of a value, or of the name of a place, that are shown: a line of a terminal."""

LONGEST_SAID = 4 * LONGEST_SHOWN
"""Characters of what is said of one problem, which may show two names."""

Loc = tuple[int | str, ...]
"""Where a problem lies: keys and, from 0, places in lists."""

# The longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_SECRET = re.compile(r"key|secret|passw|auth", re.IGNORECASE)
_BEFORE_HOST = re.compile(r"[^/\s'\"]+@")


def decoded(content: bytes, where: str) -> str:
    """The text of a file that is to be UTF-8; a byte order mark is taken away.

    Raises:
        InvalidInput: it is in another encoding.
    """
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            raise InvalidInput(f"{where} is in {encoding}. Save it as UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise InvalidInput(
            f"{where} is not in UTF-8: line {line} holds the byte 0x{byte:02x}. Save it as UTF-8."
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InvalidInput(
            f"{where} is no plain text: line {line} holds a NUL character, as UTF-16 does. Save it "
            "as UTF-8."
        )
    return text


def at_home(path: str, what: str) -> str:
    """A path with the home folder in place of a leading `~`.

    Args:
        path: as it was written; not resolved otherwise.
        what: the key or option that holds it, for errors to name.

    Raises:
        InvalidInput: nobody knows that home folder.
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except (RuntimeError, ValueError):
        raise InvalidInput(
            f"{what}: the home folder that {shown(path)} begins with is not known. Write the whole "
            "path."
        ) from None


def secret(key: str) -> bool:
    """Whether what a key holds may be a secret, by its name."""
    return bool(_SECRET.search(key))


def without_password(text: str) -> str:
    """A text without what stands before the host of an address in it."""
    return _BEFORE_HOST.sub("***@", text)


class _Shown(reprlib.Repr):
    """Values cut to a line, without passwords in addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = LONGEST_SHOWN

    def repr_str(self, text: str, level: int) -> str:
        return super().repr_str(without_password(text), level)

    def repr_int(self, number: int, level: int) -> str:
        try:
            return super().repr_int(number, level)
        except ValueError:  # Python writes no number of more than 4300 digits
            return "a number of thousands of digits"


_SHOWN = _Shown()


def shown(value: object, key: str = "") -> str:
    """A value in one short line, unless its key is one of secrets."""
    return "a value that is not shown" if secret(key) else _SHOWN.repr(value)


def one_line(text: str, most: int = LONGEST_SHOWN) -> str:
    """A text that can be printed in a sentence: escaped where it cannot, and cut."""
    if not text.isprintable():
        text = text.encode("unicode_escape").decode()
    return text if len(text) <= most else f"{text[: most - 3]}..."


def dotted(loc: Loc) -> str:
    """A place in a recipe, as `--set` would name it."""
    return one_line(".".join(map(str, loc)))


def _told(loc: Loc, words: str) -> str:
    return f"{dotted(loc)}: {words}" if loc else words


def explain(
    error: ValidationError, data: object = None, tell: Callable[[Loc, str], str] = _told
) -> str:
    """The problems of a pydantic error in words: key, what is allowed, and the value.

    Args:
        error: of a model.
        data: what was validated, if it is at hand; places beyond it are pydantic's own.
        tell: puts a place and what is wrong there into words.
    """
    found: dict[Loc, list[ErrorDetails]] = {}
    for problem in error.errors(include_url=False):
        found.setdefault(_within(problem, data), []).append(problem)
    problems = [
        tell(loc, _words(loc, there))
        for loc, there in found.items()
        if there[0]["type"] != "too_short" or not _any_below(loc, found)
    ]
    more = len(problems) - MOST_TOLD
    return "; ".join(problems[:MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")


def _any_below(loc: Loc, found: dict[Loc, list[ErrorDetails]]) -> bool:
    """Whether a list lacks only the entries that are wrong themselves."""
    return any(other[: len(loc)] == loc and other != loc for other in found)


def _within(problem: ErrorDetails, data: Any) -> Loc:  # noqa: ANN401  (whatever a file holds)
    """The place of a problem as far as the data has it: what follows names a type of a union."""
    loc = problem["loc"]
    if data is None:
        return loc
    for depth, part in enumerate(loc):
        try:
            data = data[part]
        except (LookupError, TypeError):
            return loc[: depth + 1] if problem["type"] == "missing" else loc[:depth]
    return loc


def _words(loc: Loc, problems: list[ErrorDetails]) -> str:
    said = " or ".join(dict.fromkeys(_what_is_wrong(problem) for problem in problems))
    value = problems[0]["input"]
    if problems[0]["type"] in ("extra_forbidden", "missing", CLASH):
        return said
    if isinstance(value, (dict, BaseModel)):
        return said
    return f"{said} (got {shown(value, str(loc[-1]) if loc else '')})"


def _what_is_wrong(problem: ErrorDetails) -> str:
    match problem["type"]:
        case "extra_forbidden":
            return "unknown key"
        case "missing":
            return "missing"
        case "model_type" | "dict_type":
            return "keys with their values are wanted"
        case "tuple_type":
            return "a list is wanted"
        case "too_short":
            return f"{problem['ctx']['min_length']} or more entries are wanted"
        case "float_type":
            return "a number is wanted"
    return one_line(problem["msg"].removeprefix("Value error, "), most=LONGEST_SAID)
