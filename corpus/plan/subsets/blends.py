"""Blends: what lies between anchors, told by those around it, each by its weight."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from math import fsum

from schemas.prompts import Anchor, Example, Point
from schemas.slots import Place

DIGITS = 3
"""Of coordinates and weights: a thousandth of the plane is less than any voice can show."""
TOLD = 0.1
"""The least weight that shows in words: a voice or a text can hardly be a tenth of something."""
_FIRST = ((0.85, "almost entirely"), (0.5, "mostly"), (0.0, "partly"))
_OTHERS = ((0.25, "somewhat"), (0.0, "slightly"))
"""Weights from which a part is told by these words, if it is the first or another."""


@dataclass(frozen=True, slots=True)
class Part:
    """An anchor in a blend: its weight, and that in a word."""

    anchor: Anchor
    weight: float
    amount: str

    @property
    def feeling(self) -> str:
        """As in 'mostly anxious'."""
        return f"{self.amount} {self.anchor.name.replace('_', ' ')}"


def parts_of(place: Place, anchors: Mapping[str, Anchor]) -> list[Part]:
    """The anchors of a blend that show, with their weights in words; the greatest is first."""
    told = [(name, weight) for name, weight in place.blend if weight >= TOLD]
    return [
        Part(anchors[name], weight, _amount(weight, _OTHERS if number else _FIRST))
        for number, (name, weight) in enumerate(told)
    ]


def _amount(weight: float, words: tuple[tuple[float, str], ...]) -> str:
    return next(word for least, word in words if weight >= least)


def blended(place: Place, parts: list[Part], anchors: Mapping[str, Anchor]) -> Anchor:
    """What the anchors around a point come to, as an anchor that bears the name of the first.

    A wording is required of a response only where each part requires one; any of these will do.
    """
    first, *others = (part.anchor for part in parts)
    felt = (first, *others)
    one_of = {word: None for anchor in felt for word in anchor.required_words}
    return first.model_copy(
        update={
            "valence": place.valence,
            "arousal": place.arousal,
            "query_style": _mixed(parts, "query_style"),
            "response_style": _mixed(parts, "response_style"),
            "response_delivery": _delivery(place, anchors),
            "feeling": ", ".join(part.feeling for part in parts),
            "goal": "; ".join(f"{part.amount}: {part.anchor.goal}" for part in parts),
            "cues": tuple(dict.fromkeys(cue for anchor in felt for cue in anchor.cues)),
            "avoid": tuple(dict.fromkeys(item for anchor in felt for item in anchor.avoid)),
            "required_words": tuple(one_of) if all(a.required_words for a in felt) else (),
            "examples": _alternately(anchor.examples for anchor in felt),
        }
    )


def _alternately(groups: Iterable[tuple[Example, ...]]) -> tuple[Example, ...]:
    """The first of each group, then the second of each, and so on."""
    return tuple(one for turn in zip_longest(*groups) for one in turn if one)


def _mixed(parts: list[Part], style: str) -> str:
    """A style of each part, in its measure."""
    styles = (f"{part.amount} {_plain(getattr(part.anchor, style))}" for part in parts)
    return _sentence("; ".join(styles))


def _plain(style: str) -> str:
    """A style within a sentence, its measure being given."""
    return (style[0].lower() + style[1:]).removeprefix("very ")


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def _delivery(place: Place, anchors: Mapping[str, Anchor]) -> Point:
    """The weighted mean of where the anchors' responses are delivered."""
    weighted = [(weight, anchors[name].response_delivery) for name, weight in place.blend]
    return Point(
        valence=round(fsum(weight * point.valence for weight, point in weighted), DIGITS),
        arousal=round(fsum(weight * point.arousal for weight, point in weighted), DIGITS),
    )
