"""The grid: neutral queries, each answered at points of the plane between the anchors.

What is said at a point, and how, comes from the anchors around it, each by its weight: a response
is asked for with all that these anchors know, and spoken at the weighted mean of their deliveries,
which has no steps where triangles meet.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from corpus.plan.prompt_files import Prompts
from corpus.plan.subsets.blends import blended, parts_of
from corpus.plan.subsets.neutral import Neutral
from corpus.plan.subsets.plane_points import PlanePoints
from corpus.plan.subsets.subset import Exchange
from corpus.plan.templates import Message
from schemas.prompts import Anchor
from schemas.recipe import Recipe
from schemas.slots import GRID, PairSlot, Place, QuerySlot

TEMPLATE = "grid/response"


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

    def ask_response(
        self, slot: PairSlot, query: str, said: Sequence[Exchange] = ()
    ) -> list[Message]:
        """Asks for a response that suits the slot's point."""
        return _ask(self._prompts, self._anchors, _place_of(slot), query)

    def response_cast(self, slot: PairSlot) -> str:
        """The points of a number: a query has one of each, where anchors may come twice."""
        return f"{self.name}-{slot.id.rpartition('-')[2]}"

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
