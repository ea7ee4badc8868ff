"""The emotional subset: queries spoken in an emotion, each with one response suited to it."""

from collections.abc import Iterator, Sequence

from corpus.plan.subsets.subset import Cell, Exchange, Manner, SubsetRoom
from corpus.plan.templates import Message
from schemas.prompts import Anchor
from schemas.slots import EMOTIONAL, PairSlot, QuerySlot


class Emotional(SubsetRoom):
    """As in the published corpus: so many pairs for each anchor."""

    name = EMOTIONAL
    size = "pairs_per_anchor"
    optional = False
    in_words = True
    card = "a query spoken in an emotion, and one response suited to it."

    def cells(self) -> Iterator[Cell]:
        """One for each anchor."""
        for anchor in self._anchors:
            yield Cell(f"{self.name}-{anchor}", anchor, self.queries_of(self._recipe))

    def pairs_of(self, query: QuerySlot) -> Iterator[PairSlot]:
        """One, of the query's own id and anchor."""
        assert query.anchor is not None
        yield PairSlot(query.id, query, query.anchor)

    def ask_query(
        self, slot: QuerySlot, topic: str, said: Sequence[Exchange] = ()
    ) -> list[Message]:
        """Asks for a query spoken in the slot's emotion."""
        return self._prompts.emotional_query(self._spoken_in(slot), topic)

    def ask_response(
        self, slot: PairSlot, query: str, said: Sequence[Exchange] = ()
    ) -> list[Message]:
        """Asks for a response to a query that was spoken in the slot's emotion."""
        return self._prompts.emotional_response(self.target(slot), query)

    def query_manner(self, slot: QuerySlot) -> Manner:
        """In its anchor's style, at its anchor's point."""
        anchor = self._spoken_in(slot)
        return Manner(anchor.query_style, anchor.point)

    def _spoken_in(self, slot: QuerySlot) -> Anchor:
        assert slot.anchor is not None
        return self._anchors[slot.anchor]
