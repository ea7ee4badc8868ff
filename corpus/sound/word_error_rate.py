"""The word error rate, of texts as they are spoken.

A recogniser writes numbers, units, dates, times and contractions as it pleases: "5kg at -5°" for
"five kilograms at minus 5 degrees". Here every way to write them comes to one.
"""

import re
from collections.abc import Callable
from functools import cache

_CLOCK = re.compile(r"\b(\d{1,2})\.(\d{2})(?= ?[ap]\.?m\b)", re.IGNORECASE)  # 7.30 pm
_HALF_OF_DAY = re.compile(r"\b([ap])\.? ?m\b\.?", re.IGNORECASE)
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")
_MONTH = "(january|february|march|april|may|june|july|august|september|october|november|december)"
_DAY = r"(\d{1,2}(?:st|nd|rd|th))"
_DAY_FIRST = re.compile(rf"\b(?:the )?{_DAY} (?:of )?{_MONTH}\b")
_DAY_LAST = re.compile(rf"\b{_MONTH} the {_DAY}\b")


@cache
def _readers() -> tuple[Callable[[str], str], Callable[[str], str]]:
    """What the builtin voice reads out of signs, and what Whisper's authors compare words by."""
    from hibari.g2p.normalize import normalize
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return normalize, EnglishTextNormalizer({})  # type: ignore[no-untyped-call]


def spoken_words(text: str) -> str:
    """An English text in the one form in which texts are compared, its words parted by spaces."""
    read_out, plain = _readers()
    read = read_out(_CLOCK.sub(r"\1:\2", text))
    words = plain(_HALF_OF_DAY.sub(r"\1m", _MINUS.sub("minus ", read)))
    words = words.replace("cannot", "can not")  # what becomes of "can't"
    return _DAY_LAST.sub(r"\1 \2", _DAY_FIRST.sub(r"\2 \1", words))


def plain_words(text: str) -> str:
    """An English text as Whisper's authors compare texts, and nothing read out before."""
    return _readers()[1](text)


def word_error_rate(said: str, heard: str) -> float:
    """Share of a text's words that were heard otherwise; may exceed 1."""
    errors, words = word_errors(spoken_words(said), spoken_words(heard))
    return errors / max(words, 1)


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """How many words have to be changed, left out or put in to make the one text the other.

    Returns:
        That number, and the words of what was said.
    """
    import jiwer

    found = jiwer.process_words(said, heard)
    errors = found.substitutions + found.deletions + found.insertions
    return errors, found.hits + found.substitutions + found.deletions
