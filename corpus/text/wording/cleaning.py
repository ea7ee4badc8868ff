"""Cleans generated text: mends what can be mended without guessing, leaves the rest to be seen.

What is left is for the text rules to refuse. So nothing that could stand for a word is taken away
in silence: of pictures only those that stand beside the words go.
"""

# ruff: noqa: RUF001 - characters that look alike are what this module tells apart

import html
import re
import unicodedata
from functools import lru_cache
from html.entities import html5

_THINKING_BEGINS = re.compile(r"<think(?:ing)?>")
_THINKING_ENDS = re.compile(r"</think(?:ing)?>")
_THINKING = re.compile(r"^.*</think(?:ing)?>", re.DOTALL)
_ENDS_IN_TAGS = re.compile(r"(?:\s*</think(?:ing)?>)+\s*$")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,31});")
_EMPHASIS = re.compile(r"(\*\*|__|\*|_)(?=\S)(.+?)(?<=\S)\1")
_ENDS_A_SENTENCE = re.compile(r"[.!?][\"')]*$")
_QUOTE_PAIRS = ('""', "''", "``")

_SPOKEN = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛ʼʻ′´❛❜", "'"),
        **dict.fromkeys("“”„‟″«»❝❞", '"'),
        **dict.fromkeys("‐‑−", "-"),
        **dict.fromkeys("‒﹘", "–"),
        **dict.fromkeys("―⸺⸻", "—"),
        **dict.fromkeys("⁄∕", "/"),
        "…": "...",
        "\u2800": " ",  # a pattern of Braille without a dot
    }
)
_SAFE_WAYS = frozenset({"<compat>", "<wide>", "<narrow>", "<square>", "<small>"})
"""Ways in which Unicode takes a character apart that keep what is read out: ℃ is °C, № is No.
Others do not: m² would become m2, and ① in the middle of a sentence 1."""
_INVISIBLE = re.compile("[\u034f\u20e3\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""What joins or tints the characters around it, beside those that Unicode calls formats (Cf)."""
_SPACE = "[\u00a0\u2000-\u200a\u202f\u205f]"
_GROUPED_DIGITS = re.compile(rf"(?<![\d.,])\d{{1,3}}(?:{_SPACE}\d{{3}})+(?!\d)")
_SPACED_MARK = re.compile(rf"{_SPACE}+(?=[!?;:.,)])|(?<=\(){_SPACE}+|(?<=«)\s+|\s+(?=»)")
_FRACTION = re.compile(r"(?<![^\W\d_])(?:(?<=\d)\s?)?([¼½¾⅐-⅞↉])")
_UNSPOKEN_MARK = re.compile(r"(?<=\w)[®™℠]")
_PICTURE = "[\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"
_PICTURES = re.compile(rf"\s*{_PICTURE}(?:\s*{_PICTURE})*\s*")

_NUMBER = r"\d(?:[\d.,:/]*\d)?"
_BETWEEN_NUMBERS = re.compile(rf"{_NUMBER}(?:(?:\s?[–—]\s?|[ \t]-[ \t]){_NUMBER})+")
_NUMBER_DASH = re.compile(r"\s?[–—]\s?|[ \t]-[ \t]")
# From $5 to $10, from 5% to 10%, from 9am to 5pm.
_BETWEEN_AMOUNTS = re.compile(r"(?<=\d)((?:[%°]|[^\W\d_]{1,2})?)\s?–\s?(?=[$€£]?\d)")
_MINUS = re.compile(r"(?<![^\s(\"'])–(?=[$€£]?\d)")
# COVID-19, a 10-year plan.
_COMPOUND = re.compile(r"(?<=[^\W\d_])–(?=\d)|(?<=\d)–(?=[^\W\d_])")
_BULLET = re.compile(r"(?<=\n)[ \t]*[-–—](?=[ \t])")
_TYPED_DASH = re.compile(
    r"(?<=\S)[ \t]+--?[ \t]+|(?<=[^\s-])--(?=[^\s-])|(?<=[^\s-])[ \t]*--$|^--(?=\w)"
)
_DASH = re.compile(r"[ \t]*[–—](?:[ \t]*[–—])*[ \t]*")
_OPENED = re.compile(r"(?:^|\s)[\"'(]*$")
_CLOSES = re.compile(r"[\"')]+(?:[\s.,!?;:]|$)")
_ENDED = re.compile(r"([.!?,;:])[\"')]*$")


def clean(text: str) -> str:
    """The text as it will be spoken; a text that is clean comes out as it is.

    Takes away thinking, markdown emphasis, quotes around the whole, pictures beside the words,
    invisible characters and superfluous space, decodes HTML entities, and writes typographic
    quotes, dashes, fractions and units in the plain characters every voice reads.
    """
    # One mark may hide another, as in **_so_**. Every pass leaves fewer to mend.
    while (cleaned := _cleaned(text)) != text:
        text = cleaned
    return text


def _cleaned(text: str) -> str:
    text = _without_thinking(_ENTITY.sub(_decoded, text))
    if not text.isascii():
        text = _in_plain_characters(text)
    text = _EMPHASIS.sub(_unless_stage_direction, text.strip())
    text = " ".join(_without_dashes(text).split())
    while len(text) > 1 and text[0] + text[-1] in _QUOTE_PAIRS and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def _decoded(entity: re.Match[str]) -> str:
    """The character that an HTML entity names; the text as it is where it names none."""
    named = entity[0][1:]
    return html.unescape(entity[0]) if named[0] == "#" else html5.get(named, entity[0])


def _without_thinking(text: str) -> str:
    """What follows the thinking; what goes before a closing tag that ends it all is the answer."""
    if len(_THINKING_ENDS.findall(text)) > len(_THINKING_BEGINS.findall(text)):
        text = _ENDS_IN_TAGS.sub("", text)
    return _THINKING.sub("", text)


def _unless_stage_direction(match: re.Match[str]) -> str:
    """Emphasis without its marks; starred words that stand alone as a sentence are left."""
    start, end = match.span()
    before, after = match.string[:start].rstrip(), match.string[end:].lstrip()
    alone = (not before or before[-1] in ".!?") and (not after or after[0].isupper())
    if alone and (before or after) and match[1] in "*_" and not _ENDS_A_SENTENCE.search(match[2]):
        return f"*{match[2]}*"
    return match[2]


# Characters


def _in_plain_characters(text: str) -> str:
    text = _GROUPED_DIGITS.sub(lambda match: re.sub(_SPACE, "", match[0]), text)
    text = _SPACED_MARK.sub("", text)
    text = _FRACTION.sub(_written_out, text.translate(_SPOKEN))
    text = unicodedata.normalize("NFC", "".join(map(_plain, text)))
    return _PICTURES.sub(_unless_between_words, _UNSPOKEN_MARK.sub("", text))


@lru_cache(maxsize=4096)
def _plain(char: str) -> str:
    """A character in plain ones where it stands for them, nothing where it cannot be seen."""
    if unicodedata.category(char) == "Cf" or _INVISIBLE.match(char):
        return ""
    way, *parts = unicodedata.decomposition(char).split() or [""]
    # Those that begin with a space are accents without a letter.
    if way not in _SAFE_WAYS or parts[0] == "0020":
        return char
    return "".join(_plain(chr(int(part, 16))) for part in parts).translate(_SPOKEN)


def _written_out(match: re.Match[str]) -> str:
    """A fraction as two numbers, apart from the number before it and the word behind it."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    plain = unicodedata.normalize("NFKC", match[1]).replace("⁄", "/")
    return f"{' ' * before.isdigit()}{plain}{' ' * after.isalpha()}"


def _unless_between_words(match: re.Match[str]) -> str:
    """Space for pictures, but between two words, where they may stand for one, they are left."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    signs = any(
        unicodedata.category(char) not in ("So", "Sk") for char in "".join(match[0].split())
    )
    if signs or (before.isalnum() and after.isalnum()):
        return match[0]
    if not before or not after or after in ".,!?;:)":
        return ""
    return " " if match[0][-1].isspace() or after.isalnum() else ""


# Dashes


def _without_dashes(text: str) -> str:
    """The text with every dash spoken: as a range, a hyphen, a minus, a pause or the end of it."""
    text = _BETWEEN_NUMBERS.sub(_between_numbers, text)
    text = _BETWEEN_AMOUNTS.sub(r"\1 to ", text)
    text = _COMPOUND.sub("-", _MINUS.sub("-", text))
    # The bullets of a list, which is refused, are told from pauses while there are lines.
    text = _TYPED_DASH.sub(" — ", _BULLET.sub("•", text))
    return _DASH.sub(_pause, text)


def _between_numbers(match: re.Match[str]) -> str:
    """Numbers with dashes between them: two are a range, unless they make one of a telephone."""
    numbers = _NUMBER_DASH.split(match[0])
    if len(numbers) == 2 and not _makes_one(*numbers):
        return " to ".join(numbers)
    return match[0] if " - " in match[0] else "-".join(numbers)


def _makes_one(first: str, second: str) -> bool:
    """Whether two numbers are parts of one that is read digit by digit."""
    if not (first.isdigit() and second.isdigit()):
        return False
    if any(len(number) > 1 and number[0] == "0" for number in (first, second)):
        return True
    local = (len(first), len(second)) == (3, 4) and not (first[-1] == second[-1] == "0")
    return local or len(second) < len(first) >= 5


def _pause(match: re.Match[str]) -> str:
    """What a dash among words is spoken as, by what stands on both sides of it."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    if _OPENED.search(before) or after[:1] in tuple(".!?,;:"):
        return ""
    ended = _ENDED.search(before)
    if not after or _CLOSES.match(after):
        return "" if ended and ended[1] in ".!?" else "..."
    if ended and (ended[1] != "." or not after[0].islower()):
        return " "
    return ", "
