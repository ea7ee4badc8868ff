"""The plan: every slot of the corpus with its id, split, topics and seeds, before any is filled.

Everything here is a pure function of the recipe's seed and the slot's own name. So a slot keeps
its split, topic and seed when the corpus grows, an anchor is added or the order changes.
"""

from collections.abc import Iterator, Mapping, Sequence

from corpus.errors import InvalidInput
from corpus.plan.cast import Cast
from corpus.plan.prompt_files import Prompts
from corpus.plan.seeds import derive, shuffled
from corpus.plan.subsets.registry import rooms_of
from corpus.plan.subsets.subset import Cell, SubsetRoom
from schemas.prompts import Anchor, Speaker
from schemas.recipe import BLOCK, Recipe
from schemas.slots import PairSlot, QuerySlot, Split, Subset
from schemas.tables import EMPATHY, SPEAKERS

ATTEMPTS_PER_TOPIC = 4
"""A slot keeps its topic for the first try and three retries (the published pipeline's number of
retries of a bad output), then moves on to the next topic."""


LAYOUT: Mapping[str, Split] = {"t": "train", "e": "eval"}
"""Letters of a layout, in which a corpus made elsewhere tells its slots: one for each number of a
cell, '-' where there is no such query."""


class Plan:
    """The slots of a recipe over a prompts folder.

    Args:
        recipe: says how many slots there are, and draws their splits, topics and seeds.
        prompts: has the anchors and topics.
        layout: of a corpus that was not made from a plan, its slots by cell.

    Attributes:
        anchors: of the recipe, by name, in the order of the prompts folder.
        rooms: the subsets that the corpus speaks of, by name, in slot order.
        cast: who speaks; nobody of a corpus that was not made from a plan.

    Raises:
        InvalidInput: the recipe names an anchor or a speaker that the prompts folder does not have,
            or a subset cannot be made of its anchors.
    """

    def __init__(
        self, recipe: Recipe, prompts: Prompts, layout: Mapping[str, str] | None = None
    ) -> None:
        self._recipe = recipe
        self.layout = layout
        self._topics: Sequence[str] = prompts.topics
        by_name = {anchor.name: anchor for anchor in prompts.anchors}
        wanted = by_name if recipe.anchors == "all" else dict.fromkeys(recipe.anchors)
        for name in wanted:
            if name not in by_name:
                raise InvalidInput(
                    f"anchors: '{name}' is not an anchor of {prompts.folder / 'anchors.yaml'}; "
                    f"it has {', '.join(by_name)}."
                )
        self.anchors: dict[str, Anchor] = {n: a for n, a in by_name.items() if n in wanted}
        self.rooms: dict[Subset, SubsetRoom] = rooms_of(recipe, prompts, self.anchors)
        self.cast = Cast.of(recipe, prompts) if layout is None else None

    @property
    def subsets(self) -> tuple[Subset, ...]:
        """Names of the subsets that the corpus speaks of, in slot order."""
        return tuple(self.rooms)

    @property
    def columns(self) -> tuple[str, ...]:
        """What the rows have beside the columns of every corpus."""
        of_rooms = dict.fromkeys(name for room in self.rooms.values() for name in room.columns)
        annotated = EMPATHY if self._recipe.annotate.empathy else ()
        return (*of_rooms, *(SPEAKERS if self.cast else ()), *annotated)

    @property
    def query_count(self) -> int:
        """Number of query slots."""
        return sum(1 for _ in self.queries())

    @property
    def pair_count(self) -> int:
        """Number of pair slots, the rows of the corpus."""
        return sum(1 for _ in self.pairs())

    def queries(self) -> Iterator[QuerySlot]:
        """Every query slot, in slot order: subset after subset, in it cell after cell."""
        for room in self.rooms.values():
            for cell in room.cells():
                yield from self._cell(room.name, cell)

    def _cell(self, subset: Subset, cell: Cell) -> Iterator[QuerySlot]:
        splits: Iterator[Split | None] = (
            (self._split(cell.name, number) for number in range(cell.queries))
            if self.layout is None
            else (LAYOUT.get(letter) for letter in self.layout.get(cell.name, ""))
        )
        for number, split in enumerate(splits):
            if split:
                yield from self.rooms[subset].slots_of(cell, number, split)

    def pairs_of(self, query: QuerySlot) -> Iterator[PairSlot]:
        """The pair slots that share a query, as its subset has them."""
        return self.rooms[query.subset].pairs_of(query)

    def next_turn(self, pair: PairSlot) -> QuerySlot | None:
        """The query that follows on a response, in a dialogue."""
        return self.rooms[pair.query.subset].next_turn(pair)

    def pairs(self) -> Iterator[PairSlot]:
        """Every pair slot, in slot order; the rows of the corpus come in this order."""
        for query in self.queries():
            yield from self.pairs_of(query)

    def topic(self, query: QuerySlot, attempt: int) -> str:
        """The topic of an attempt: cycled evenly within a cell, in an order of the cell's own."""
        place = query.number + attempt // ATTEMPTS_PER_TOPIC
        block, index = divmod(place, len(self._topics))
        order = shuffled(len(self._topics), self._recipe.seed, "topics", query.drawn_with, block)
        return self._topics[order[index]]

    def seed(self, stage: str, slot_id: str, attempt: int) -> int:
        """The sampling seed of one attempt at one slot."""
        return derive(self._recipe.seed, stage, slot_id, attempt)

    def query_speaker(self, query: QuerySlot) -> Speaker | None:
        """Who says a query; None where `query_voice` says all."""
        if self.cast is None:
            return None
        cell = query.drawn_with
        return self.cast.of_query(cell, query.split, self._rank(query))

    def response_speaker(self, pair: PairSlot) -> Speaker | None:
        """Who says a response; None where `response_voice` says all."""
        if self.cast is None:
            return None
        cell = self.rooms[pair.query.subset].response_cast(pair)
        return self.cast.of_response(cell, pair.query.split, self._rank(pair.query))

    def _rank(self, query: QuerySlot) -> int:
        """How many numbers of the query's cell and split lie before its own."""
        block, index = divmod(query.number, BLOCK)
        alike = [
            n for n in range(BLOCK) if self._split_of(query.drawn_with, block, n) == query.split
        ]
        return block * len(alike) + alike.index(index)

    def _split(self, cell: str, number: int) -> Split:
        return self._split_of(cell, *divmod(number, BLOCK))

    def _split_of(self, cell: str, block: int, index: int) -> Split:
        order = shuffled(BLOCK, self._recipe.seed, "split", cell, block)
        return "eval" if index in order[: self._recipe.split.eval_per_block] else "train"
