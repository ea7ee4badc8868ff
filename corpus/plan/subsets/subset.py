"""The shape of a subset: all that the stages, the card, the gates and the report ask of one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from corpus.plan.prompt_files import Prompts
from corpus.plan.templates import Message
from schemas.prompts import Anchor, Point
from schemas.recipe import Recipe
from schemas.slots import PairSlot, QuerySlot, Split, Subset


@dataclass(frozen=True, slots=True)
class Manner:
    """How something is said: the words a styled voice is told, and the point of the plane."""

    style: str
    point: Point


@dataclass(frozen=True, slots=True)
class Cell:
    """Query slots that share a split and an order of topics.

    Attributes:
        name: begins the ids of its slots.
        anchor: in whose emotion the queries are spoken; None of neutral ones.
        queries: how many there are.
    """

    name: str
    anchor: str | None
    queries: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was said and answered before a turn of a dialogue."""

    query: str
    response: str


class SubsetRoom(ABC):
    """A subset of a recipe.

    Args:
        recipe: its section of the subset's name says how large the subset is.
        prompts: ask for its texts.
        anchors: of the recipe, by name, in order.

    Attributes:
        name: of the subset, of its folder, of its config on the Hub and of its recipe section.
        size: key of the section that says how many queries a cell has; 0 is none.
        optional: whether a corpus whose recipe has none of it knows nothing of it, not even that
            there are no such rows.
        in_words: whether the words of a query show how the user feels.
        contrasted: whether the responses to one query are compared, since each is for another
            anchor.
        columns: what its rows have beside the columns of every corpus (`schemas.tables.ADDED`).
        card: what the dataset card says its pairs are.
        card_note: what the card says of its rows' coordinates, where they are not an anchor's.
    """

    name: ClassVar[Subset]
    size: ClassVar[str] = "queries"
    optional: ClassVar[bool] = True
    in_words: ClassVar[bool] = False
    contrasted: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ()
    card: ClassVar[str]
    card_note: ClassVar[str] = ""

    def __init__(self, recipe: Recipe, prompts: Prompts, anchors: Mapping[str, Anchor]) -> None:
        self._recipe = recipe
        self._prompts = prompts
        self._anchors = anchors

    @classmethod
    def queries_of(cls, recipe: Recipe) -> int:
        """How many queries a cell has by a recipe."""
        count: int = getattr(getattr(recipe, cls.name), cls.size)
        return count

    @classmethod
    def samples(cls, prompts: Prompts, anchors: Mapping[str, Anchor]) -> Iterator[list[Message]]:
        """What its own templates render, as in a build: those in a folder of the subset's name.

        Raises:
            InvalidInput: one is missing or does not render.
        """
        return iter(())

    @abstractmethod
    def cells(self) -> Iterator[Cell]:
        """Its cells, in slot order."""

    def slots_of(self, cell: Cell, number: int, split: Split) -> Iterator[QuerySlot]:
        """The query slots of one number of a cell: one, unless queries follow on each other."""
        yield QuerySlot(f"{cell.name}-{number:05d}", self.name, cell.anchor, number, split)

    @abstractmethod
    def pairs_of(self, query: QuerySlot) -> Iterator[PairSlot]:
        """The pair slots that share a query."""

    def next_turn(self, slot: PairSlot) -> QuerySlot | None:
        """The query that follows on a response, if one does."""
        return None

    @abstractmethod
    def ask_query(
        self, slot: QuerySlot, topic: str, said: Sequence[Exchange] = ()
    ) -> list[Message]:
        """Asks a text model for a query, given what was said before it."""

    @abstractmethod
    def ask_response(
        self, slot: PairSlot, query: str, said: Sequence[Exchange] = ()
    ) -> list[Message]:
        """Asks a text model for a response, given what was said before its query."""

    @abstractmethod
    def query_manner(self, slot: QuerySlot) -> Manner:
        """How a query is spoken."""

    def response_cast(self, slot: PairSlot) -> str:
        """Within what speakers of responses take turns, by the numbers of the queries."""
        return slot.cell

    def response_manner(self, slot: PairSlot, levels: Sequence[float] = ()) -> Manner:
        """How a response is spoken.

        Args:
            slot: of its pair.
            levels: of the query clips that `heard_before` names, in dB.
        """
        target = self.target(slot)
        return Manner(target.response_style, target.response_delivery)

    def response_manners(self, slot: PairSlot) -> tuple[Manner, ...]:
        """Every way in which a response may be spoken, whatever was heard before."""
        return (self.response_manner(slot),)

    def heard_before(self, slot: PairSlot) -> tuple[str, ...]:
        """Ids of the queries by whose sound it is decided how a response is spoken."""
        return ()

    def asked_by(self, slot: QuerySlot) -> Anchor | None:
        """In whose feeling a query is spoken; None of a neutral one."""
        return self._anchors[slot.anchor] if slot.anchor else None

    def target(self, slot: PairSlot) -> Anchor:
        """What a response is suited to; its place on the plane is that of the pair's row."""
        return self._anchors[slot.anchor]

    def felt(self, slot: PairSlot) -> tuple[Anchor, ...]:
        """The anchors that a response is told of, the first of which counts most."""
        return (self._anchors[slot.anchor],)

    def added(self, slot: PairSlot) -> dict[str, Any]:
        """The values of its own columns in a row."""
        return {}
