"""The neutral subset: queries spoken neutrally, each answered once for every anchor."""

from collections.abc import Iterator, Sequence

from corpus.plan.subsets.subset import Cell, Exchange, Manner, SubsetRoom
from corpus.plan.templates import Message
from schemas.slots import NEUTRAL, PairSlot, QuerySlot


class Neutral(SubsetRoom):
    """As in the published corpus: the same words and the same clip, answered for each anchor."""

    name = NEUTRAL
    optional = False
    contrasted = True
    card = "a query spoken neutrally, and one response for each anchor; all share one query clip."

    def cells(self) -> Iterator[Cell]:
        """A single one, of neutral queries."""
        yield Cell(self.name, None, self.queries_of(self._recipe))

    def pairs_of(self, query: QuerySlot) -> Iterator[PairSlot]:
        """One for each anchor."""
        for anchor in self._anchors:
            yield PairSlot(f"{query.id}-{anchor}", query, anchor)

    def ask_query(
        self, slot: QuerySlot, topic: str, said: Sequence[Exchange] = ()
    ) -> list[Message]:
        """Asks for an unemotional query."""
        return self._prompts.neutral_query(topic)

    def ask_response(
        self, slot: PairSlot, query: str, said: Sequence[Exchange] = ()
    ) -> list[Message]:
        """Asks for a response to words that do not show what the user feels."""
        return self._prompts.neutral_response(self.target(slot), query)

    def query_manner(self, slot: QuerySlot) -> Manner:
        """Neutrally."""
        neutral = self._prompts.anchor_file.neutral_query
        return Manner(neutral.style, neutral.delivery)
