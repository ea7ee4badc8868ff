"""What a text or a number may be, wherever a person writes one."""

import math
import unicodedata

WHOLE = range(-(2**63), 2**63)
"""The whole numbers of TOML, and of what JSON is written with here."""

_SPACE = "\n\t"
_BAD = {"Cc": "control character", "Cs": "half character"}


def bad_character(text: str) -> str | None:
    """In words, the first character of a text that no file, request or terminal is to get.

    These are the control characters but line feed and tab, and halves of surrogate pairs.
    """
    for char in text:
        if char not in _SPACE and (kind := _BAD.get(unicodedata.category(char))):
            return f"the {kind} U+{ord(char):04X}"
    return None


def require_plain(value: object) -> None:
    """Sees that a value, at any depth, is one that can be written down and sent.

    Raises:
        ValueError: a number in it is not finite or beyond 64 bits, or a text holds a control
            character.
    """
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as table:
                waiting += [*table, *table.values()]
            case list() | tuple() as items:
                waiting += items
            case float() as number if not math.isfinite(number):
                raise ValueError("a finite number is wanted")
            case int() as number if number not in WHOLE:
                raise ValueError("a whole number has 64 bits at the most")
            case str() as text if found := bad_character(text):
                raise ValueError(f"it holds {found}")
