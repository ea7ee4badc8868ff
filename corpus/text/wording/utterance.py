"""An utterance, taken apart into what the text rules measure: words, sentences, language."""

import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from schemas.prompts import RuleFile

_LANGUAGES = ("en", "de", "es", "fr", "it", "nl", "pt")
"""Those that a model slips into, and that are written in the same letters."""
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_LETTER_RUN = re.compile(r"[^\W\d_]+")
_SENTENCE_END = re.compile(
    r"(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bMrs)[.!?]+[\"')]*(?=\s+[^a-z\s]|\s*$)"
)
_TAKEN_BACK = re.compile(
    r"\b(?:not|never|none|no one|nobody|without|before|instead of|rather than|\w+n't"
    r"|tell|tells|telling|told|say|says|said|saying|call|calls|called|calling|hear|hearing|heard)"
    r"\b[^.,;:!?]*$"
)
"""Before a phrase, in its clause: it is what someone else said, or the opposite is meant."""


@dataclass(frozen=True)
class Utterance:
    """A cleaned text, with what its slot brings for it to be judged by.

    Attributes:
        text: what `corpus.text.wording.cleaning.clean` returned.
        lists: the word lists of the prompts folder.
        neutral: whether a query must be matter-of-fact.
        query: what a response answers, and is not to repeat.
        shown: texts that the prompt showed as examples, which are not to be handed back.
        required_words: the anchor's words of which one must occur in a response, if it has any.
        opening_words: words a response's first sentence must not have. In the neutral subset these
            are the anchor's labels, because there a response does not open by naming the emotion.
        closeness: the cosine of its embedding with that of what it is to be about; no bound where
            that is not known, so that no rule refuses it.
    """

    text: str
    lists: RuleFile
    neutral: bool = False
    query: str = ""
    shown: tuple[str, ...] = ()
    required_words: tuple[str, ...] = ()
    opening_words: tuple[str, ...] = ()
    closeness: float = math.inf

    @cached_property
    def words(self) -> list[str]:
        """Its words, in lower case."""
        return _words(self.text)

    @cached_property
    def sentences(self) -> list[str]:
        """Its sentences, in order; what follows the last end mark counts as one."""
        return list(_sentences(self.text))

    @cached_property
    def in_latin_letters(self) -> bool:
        """Whether every letter is a Latin one, with or without accents."""
        return self.text.isascii() or all(map(_is_latin, _LETTER_RUN.findall(self.text)))

    @cached_property
    def english(self) -> float:
        """How likely it is English rather than another language written in Latin letters."""
        return float(dict(_rank()(self.text))["en"])

    @cached_property
    def repeated_words(self) -> float:
        """Words of the longest phrase that comes twice.

        There is no end to it where a whole sentence comes twice, or a word four times in a row.
        """
        sentences = [" ".join(_words(sentence)) for sentence in self.sentences]
        loops = any(len(set(run)) == 1 for run in _runs(self.words, 4))
        if loops or len(set(sentences)) < len(sentences):
            return math.inf
        longest = 0
        while _comes_twice(_runs(self.words, longest + 1)):
            longest += 1
        return longest

    def says(self, phrases: re.Pattern[str]) -> bool:
        """Whether it has one of the phrases of what does harm, and says it as its own."""
        text = self.text.lower()
        return any(not _TAKEN_BACK.search(text[: m.start()]) for m in phrases.finditer(text))

    def copied_from(self, other: str) -> float:
        """The share of its three-word runs that another text has."""
        return _copied(self.words, _words(other))

    def copied_by(self, other: str) -> float:
        """The share of another text's three-word runs that it has."""
        return _copied(_words(other), self.words)


def load() -> None:
    """Loads what tells languages apart."""
    _rank()


@lru_cache(maxsize=1)
def _rank() -> Callable[[str], list[tuple[str, float]]]:
    """What gives each language's probability."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(_LANGUAGES))
    rank: Callable[[str], list[tuple[str, float]]] = identifier.rank
    return rank


def has_any(text: str, words: tuple[str, ...]) -> bool:
    """Whether a text has one of some words or phrases, in any case."""
    return bool(words) and bool(_any_of(words).search(text))


@lru_cache(maxsize=64)
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _sentences(text: str) -> Iterator[str]:
    """The sentences, in order; what follows the last end mark counts as one."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    if text[start:].strip():
        yield text[start:]


def _is_latin(letters: str) -> bool:
    return letters.isascii() or all(
        "LATIN" in unicodedata.name(char, "")
        for char in letters
        if char.isalpha() and not char.isascii()
    )


def _copied(part: list[str], whole: list[str]) -> float:
    runs = _runs(part, 3)
    found = set(_runs(whole, 3))
    return sum(run in found for run in runs) / len(runs) if runs else 0.0


def _comes_twice(runs: list[tuple[str, ...]]) -> bool:
    return len(set(runs)) < len(runs)


def _runs(words: list[str], length: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(length)), strict=False))
