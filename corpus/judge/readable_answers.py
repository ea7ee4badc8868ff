"""What is read of a judge's answer; whatever has another form is not read at all.

A rating is what stands first in the answer, before a bar. A number elsewhere ("on a 1-5 scale", "a
4 | 5") is none, so nothing is read into an answer that does not grade.
"""

import re
from typing import Literal

TRIES = 3
"""How often a judge that answers in another form is asked."""
UNREADABLE = "judge_unreadable"
"""The reason of what a judge gave no readable answer about, in any try."""

Winner = Literal["first", "second", "tie"]

_FENCE = "```"
_GRADE = re.compile(r"([1-5])\s*\|\s*(\S.*)")
_PREFERENCE = re.compile(r"(first|second|tie)\s*\|\s*(\S.*)", re.IGNORECASE)


def read_grade(answer: str) -> tuple[int, str] | None:
    """The rating, 1 to 5, and the sentence behind it; None if it cannot be read."""
    found = _GRADE.match(_first_line(answer))
    return (int(found[1]), found[2].strip()) if found else None


def read_preference(answer: str) -> tuple[Winner, str] | None:
    """Which of two clips is preferred, and the sentence behind it; None if it cannot be read."""
    found = _PREFERENCE.match(_first_line(answer))
    if found is None:
        return None
    winners: dict[str, Winner] = {"first": "first", "second": "second", "tie": "tie"}
    return winners[found[1].lower()], found[2].strip()


def _first_line(answer: str) -> str:
    """The first line of an answer that is not empty, within a code fence if there is one."""
    lines = [line.strip() for line in answer.splitlines()]
    lines = [line for line in lines if line]
    if lines and lines[0].startswith(_FENCE):
        del lines[0]
    return lines[0].removesuffix(_FENCE) if lines else ""
