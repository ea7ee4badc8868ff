"""Cleans generated text and refuses what a voice cannot speak or a listener would not believe.

`clean` mends what can be mended without guessing. `query_problem` and `response_problem` then name
the first rule a cleaned text breaks, or None. The words they look for come from the prompts folder.
"""

# ruff: noqa: RUF001 - characters that look alike are what this module tells apart

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from schemas.prompts import RuleFile

# The reason that the voice's own check of a text gives too.
UNSPEAKABLE = "unspeakable"
# The published Sympatheia code refuses outputs of under 4 words.
MIN_WORDS = 4
# One or two sentences are asked for; the third allows for an interjection, which counts as one
# ("Oh no! ..."). Forty-five words take about 18 s to say.
MAX_QUERY_SENTENCES = 3
MAX_QUERY_WORDS = 45
# Three to five sentences are asked for; one fewer or more is no fault a listener would notice.
RESPONSE_SENTENCES = range(2, 7)
# A minute of speech at 150 words a minute: longer is a monologue, not an answer.
MAX_RESPONSE_WORDS = 150
# A phrase of this many words does not come twice in so short a text unless the model loops.
REPEATED_WORDS = 6
# This share of a text's three-word runs found in another text makes it a copy. An answer that
# takes up the question's own words stays near 0.2.
COPIED_SHARE = 0.6
# Below this probability a text is not English. Short English lines full of foreign dishes and
# cities stay above 0.09; the shortest sentences of the other languages below reach 0.04.
MIN_ENGLISH = 0.05
_LANGUAGES = ("en", "de", "es", "fr", "it", "nl", "pt")

_THINKING = re.compile(r"^.*</think>", re.DOTALL)
_EMPHASIS = re.compile(r"(\*\*|__|\*|_)(?=\S)(.+?)(?<=\S)\1")
_QUOTE_PAIRS = ('""', "''", "``")
_SPOKEN = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛ʼ′´", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑−", "-"),
        "…": "...",
        "\u00ad": None,  # soft hyphen
        "\u200b": None,  # zero-width space
        "\ufeff": None,  # byte order mark
    }
)
_DASH = re.compile(r"[ \t]*[–—―][ \t]*|(?<=\S)[ \t]+--?[ \t]+|(?<=\S)--(?=\S)")
_NUMBER_RANGE = re.compile(r"(?<=\d)\s?[–—]\s?(?=\d)")

_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_LETTER_RUN = re.compile(r"[^\W\d_]+")
_SENTENCE_END = re.compile(
    r"(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bMrs)[.!?]+[\"')]*(?=\s+[^a-z\s]|\s*$)"
)
_FINISHED = re.compile(r"[.!?][\"')]*$")
_HEADING_OR_CODE = re.compile(r"^#{1,6}\s|```|\*\*|__|\]\(|^\s*>|(?:^|\s)\|")
_LIST = re.compile(r"(?:^|\s)[-*•‣◦▪●]\s|^\(?\d{1,2}[.)]\s|\s1[.)]\s.*\s2[.)]\s")
_STAGE_DIRECTION = re.compile(
    r"\*\S[^*]*\*|\[[^\]]*\]|<[^>]*>|(?:^|[.!?]\s+)\([^)]*\)(?=\s|$|[.!?,])"
)
_NOT_SPOKEN = re.compile(
    r"https?:|www\.|\w@\w|\w\.(?:com|org|net)\b|[^\w\s.,!?'\":;()%$€£°&/-]|_|\w/\w+/|//"
)


def clean(text: str) -> str:
    """The text as it will be spoken.

    Takes away closed thinking, markdown emphasis, quotes around the whole, emoji and superfluous
    space, and writes typographic quotes and dashes in the plain characters every voice reads.
    """
    text = unicodedata.normalize("NFC", _THINKING.sub("", text)).translate(_SPOKEN)
    if not text.isascii():
        text = "".join(char for char in text if not _is_emoji(char))
    text = text.strip()
    text = _EMPHASIS.sub(_unless_stage_direction, text)
    text = _NUMBER_RANGE.sub(" to ", text)
    text = re.sub(r"[ \t]*[–—―]+$", "...", text)
    text = _DASH.sub(", ", text)
    text = " ".join(text.split())
    while len(text) > 1 and text[0] + text[-1] in _QUOTE_PAIRS and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def query_problem(
    text: str, *, rules: RuleFile, neutral: bool, shown: Sequence[str] = ()
) -> str | None:
    """The first rule a cleaned query breaks, or None.

    Args:
        text: what `clean` returned.
        rules: the word lists of the prompts folder.
        neutral: whether it must be matter-of-fact: no emotional word, no exclamation mark.
        shown: queries that the prompt showed as examples, which are not to be handed back.
    """
    words = _words(text)
    problem = _text_problem(text, words, rules)
    if problem:
        return problem
    if len(words) > MAX_QUERY_WORDS:
        return "too_long"
    if _sentence_count(text) > MAX_QUERY_SENTENCES:
        return "sentence_count"
    if _has_any(text, rules.assistant_lines):
        return "wrong_party"
    if neutral and "!" in text:
        return "exclamation"
    if neutral and _has_any(text, rules.emotion_words):
        return "emotion_word"
    if any(_copies(words, _words(example)) for example in shown):
        return "copies_example"
    return None


def response_problem(
    text: str,
    *,
    rules: RuleFile,
    query: str,
    required_words: Sequence[str] = (),
    opening_words: Sequence[str] = (),
    shown: Sequence[str] = (),
) -> str | None:
    """The first rule a cleaned response breaks, or None.

    Args:
        text: what `clean` returned.
        rules: the word lists of the prompts folder.
        query: the query it answers, which it is not to repeat.
        required_words: the anchor's words of which one must occur, if there are any.
        opening_words: words its first sentence must not have. In the neutral subset these are the
            anchor's labels, because there a response does not open by naming the emotion.
        shown: responses that the prompt showed as examples, which are not to be handed back.
    """
    words = _words(text)
    problem = _text_problem(text, words, rules)
    if problem:
        return problem
    if len(words) > MAX_RESPONSE_WORDS:
        return "too_long"
    if _sentence_count(text) not in RESPONSE_SENTENCES:
        return "sentence_count"
    if _has_any(text, rules.user_lines):
        return "wrong_party"
    if _copies(_words(query), words):
        return "copies_query"
    if any(_copies(words, _words(example)) for example in shown):
        return "copies_example"
    if opening_words and _has_any(next(_sentences(text)), tuple(opening_words)):
        return "named_emotion"
    if required_words and not _has_any(text, tuple(required_words)):
        return "missing_required_word"
    return None


def _text_problem(text: str, words: list[str], rules: RuleFile) -> str | None:
    """The rules that hold for everything spoken, cheap ones first and language last."""
    if not text:
        return "empty"
    if "<think" in text:
        return "unclosed_thinking"
    problem = _form_problem(text)
    if problem:
        return problem
    if len(words) < MIN_WORDS:
        return "too_short"
    if _opens_with(rules.meta_openings).match(text):
        return "meta_opening"
    if _label(rules.role_labels).search(text):
        return "role_label"
    if not _FINISHED.search(text):
        return "unfinished"
    if _repeats(text, words):
        return "repetition"
    return "non_english" if _english_probability(text) < MIN_ENGLISH else None


def _form_problem(text: str) -> str | None:
    """Marks, letters and characters that are made for the eye and not for a voice."""
    if _STAGE_DIRECTION.search(text):
        return "stage_direction"
    if _HEADING_OR_CODE.search(text):
        return "markdown"
    if _LIST.search(text):
        return "list"
    if not text.isascii() and not all(_is_latin(run) for run in _LETTER_RUN.findall(text)):
        return "non_english"
    return UNSPEAKABLE if _NOT_SPOKEN.search(text) else None


def _is_emoji(char: str) -> bool:
    """Pictures and what joins or tints them; the degree sign is of the same class but is read."""
    if char == "°":
        return False
    joins = char in "\u200d\u20e3\ufe0e\ufe0f" or "\U0001f3fb" <= char <= "\U0001f3ff"
    return joins or unicodedata.category(char) == "So"


def _unless_stage_direction(match: re.Match[str]) -> str:
    """Emphasis without its marks; starred words that stand alone as a sentence are left."""
    start, end = match.span()
    before, after = match.string[:start].rstrip(), match.string[end:].lstrip()
    alone = (not before or before[-1] in ".!?") and (not after or after[0].isupper())
    if alone and (before or after) and match[1] in "*_" and not _FINISHED.search(match[2]):
        return f"*{match[2]}*"
    return match[2]


def _is_latin(letters: str) -> bool:
    return letters.isascii() or all(
        "LATIN" in unicodedata.name(char, "") for char in letters if not char.isascii()
    )


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


def _sentence_count(text: str) -> int:
    return sum(1 for _ in _sentences(text))


def _repeats(text: str, words: list[str]) -> bool:
    """Whether the text loops: a sentence or a long run of words twice, or a word four times."""
    sentences = [" ".join(_words(sentence)) for sentence in _sentences(text)]
    if len(set(sentences)) < len(sentences):
        return True
    runs = _runs(words, REPEATED_WORDS)
    if len(set(runs)) < len(runs):
        return True
    return any(len(set(run)) == 1 for run in _runs(words, 4))


def _copies(part: list[str], whole: list[str]) -> bool:
    """Whether most of one text's word runs are found in another."""
    runs = _runs(part, 3)
    found = set(_runs(whole, 3))
    return bool(runs) and sum(run in found for run in runs) >= COPIED_SHARE * len(runs)


def _runs(words: list[str], length: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(length)), strict=False))


def _has_any(text: str, words: tuple[str, ...]) -> bool:
    return bool(_any_of(words).search(text))


@lru_cache(maxsize=64)
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{_alternatives(words)})(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=8)
def _opens_with(phrases: tuple[str, ...]) -> re.Pattern[str]:
    # A phrase that ends in punctuation ("sure!") is complete; one that ends in a word must not
    # go on inside it ("here is" and "here island").
    return re.compile(rf"[\"']?(?:{_alternatives(phrases)})(?:(?<!\w)|(?!\w))", re.IGNORECASE)


@lru_cache(maxsize=8)
def _label(labels: tuple[str, ...]) -> re.Pattern[str]:
    # Only where a turn can begin: "ask yourself one question: ..." is ordinary speech.
    return re.compile(rf"(?:^|[.!?\"'])\s*(?:{_alternatives(labels)})\s?:", re.IGNORECASE)


def _alternatives(phrases: tuple[str, ...]) -> str:
    return "|".join(re.escape(phrase) for phrase in phrases)


def load() -> None:
    """Loads what tells languages apart, which takes a second, before the first text needs it."""
    _rank()


@lru_cache(maxsize=1)
def _rank() -> Callable[[str], list[tuple[str, float]]]:
    """What gives each language's probability."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(_LANGUAGES))
    rank: Callable[[str], list[tuple[str, float]]] = identifier.rank
    return rank


def _english_probability(text: str) -> float:
    """How likely the text is English rather than another language written in Latin letters."""
    return float(dict(_rank()(text))["en"])
