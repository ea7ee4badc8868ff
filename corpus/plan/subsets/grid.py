"""The grid: neutral queries, each answered at points of the plane between the anchors.

What is said at a point, and how, comes from the anchors around it, each by its weight: a response
is asked for with all that these anchors know, and spoken at the weighted mean of their deliveries,
which has no steps where triangles meet.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from math import fsum
from typing import Any

from corpus.plan.prompt_files import Prompts
from corpus.plan.subsets.neutral import Neutral
from corpus.plan.subsets.plane_points import DIGITS, PlanePoints
from corpus.plan.templates import Message
from schemas.prompts import Anchor, Example, Point
from schemas.recipe import Recipe
from schemas.slots import GRID, PairSlot, Place, QuerySlot

TEMPLATE = "grid/response"
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


class Grid(Neutral):
    """`grid.queries` queries, each with a response at `grid.points` points."""

    name = GRID
    optional = True
    contrasted = False
    columns = ("blend",)
    card = (
        "a query spoken neutrally, and one response for each of some points between the anchors; "
        "all share one query clip."
    )
    card_note = (
        "Those of a row of `grid` are its point's, and `blend` has the weights of the anchors "
        "around it, the first of which is its response emotion."
    )

    def __init__(self, recipe: Recipe, prompts: Prompts, anchors: Mapping[str, Anchor]) -> None:
        super().__init__(recipe, prompts, anchors)
        self._points = PlanePoints(anchors, recipe.seed)

    @classmethod
    def samples(cls, prompts: Prompts, anchors: Mapping[str, Anchor]) -> Iterator[list[Message]]:
        """Its template with each anchor, blended with the two behind it."""
        names = [*anchors] * 3
        for number in range(len(anchors)):
            around = zip(names[number : number + 3], (0.5, 0.3, 0.2), strict=True)
            place = Place(0.0, 0.0, tuple(around))
            yield _ask(prompts, anchors, place, "What should I cook tonight?")

    def pairs_of(self, query: QuerySlot) -> Iterator[PairSlot]:
        """One for each point; the anchor is the one of the greatest weight."""
        for number, place in enumerate(self._points.of(query.number, self._recipe.grid.points)):
            yield PairSlot(f"{query.id}-{number:02d}", query, place.blend[0][0], place)

    def ask_response(self, slot: PairSlot, query: str) -> list[Message]:
        """Asks for a response that suits the slot's point."""
        return _ask(self._prompts, self._anchors, _place_of(slot), query)

    def target(self, slot: PairSlot) -> Anchor:
        """The blend of the anchors around the slot's point, as if it were one."""
        place = _place_of(slot)
        return blended(place, parts_of(place, self._anchors), self._anchors)

    def felt(self, slot: PairSlot) -> tuple[Anchor, ...]:
        """The anchors whose weight shows."""
        return tuple(part.anchor for part in parts_of(_place_of(slot), self._anchors))

    def added(self, slot: PairSlot) -> dict[str, Any]:
        """The blend."""
        blend = [{"anchor": name, "weight": weight} for name, weight in _place_of(slot).blend]
        return {"blend": blend}


def _place_of(slot: PairSlot) -> Place:
    assert slot.place is not None
    return slot.place


def _ask(
    prompts: Prompts, anchors: Mapping[str, Anchor], place: Place, query: str
) -> list[Message]:
    parts = parts_of(place, anchors)
    values = {"anchor": blended(place, parts, anchors), "blend": parts, "query": query}
    return prompts.render(TEMPLATE, values)


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
    style = "; ".join(f"{part.amount} {_lower(part.anchor.response_style)}" for part in parts)
    return first.model_copy(
        update={
            "valence": place.valence,
            "arousal": place.arousal,
            "response_style": style[0].upper() + style[1:],
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


def _lower(style: str) -> str:
    return style[0].lower() + style[1:]


def _delivery(place: Place, anchors: Mapping[str, Anchor]) -> Point:
    """The weighted mean of where the anchors' responses are delivered."""
    weighted = [(weight, anchors[name].response_delivery) for name, weight in place.blend]
    return Point(
        valence=round(fsum(weight * point.valence for weight, point in weighted), DIGITS),
        arousal=round(fsum(weight * point.arousal for weight, point in weighted), DIGITS),
    )
