"""Slots: the places of the corpus, laid out before anything is generated."""

from dataclasses import dataclass
from typing import Literal

Subset = Literal["emotional", "neutral", "grid", "dialogue"]
Split = Literal["train", "eval"]

EMOTIONAL: Subset = "emotional"
NEUTRAL: Subset = "neutral"
GRID: Subset = "grid"
DIALOGUE: Subset = "dialogue"
SUBSETS: tuple[Subset, ...] = (EMOTIONAL, NEUTRAL, GRID, DIALOGUE)
"""Every subset, in slot order; `corpus.plan.subsets` has what each of them is."""
TEXT = "text"
"""The light config beside the subsets: every row, without audio."""
SPLITS: tuple[Split, ...] = ("train", "eval")


@dataclass(frozen=True, slots=True)
class Place:
    """A point between the anchors, each coordinate in [-1, 1].

    `blend` has the names of the anchors around it and their weights, which sum to 1, the greatest
    first.
    """

    valence: float
    arousal: float
    blend: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a dialogue: of which, the how many-th, counted from 1, and of how many."""

    dialogue: str
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class QuerySlot:
    """A place for one query.

    Attributes:
        id: of the query.
        subset: it is of.
        anchor: the emotion it is spoken in; None is a neutral query.
        number: its place in its cell; of a dialogue's queries, that of the dialogue.
        split: on whose side it is.
        place: the point it is spoken at, if that is another than its anchor's.
        turn: of a dialogue, if it is one.
    """

    id: str
    subset: Subset
    anchor: str | None
    number: int
    split: Split
    place: Place | None = None
    turn: Turn | None = None

    @property
    def cell(self) -> str:
        """What must be filled exactly: an anchor of the emotional subset, or another subset."""
        return self.subset if self.anchor is None else f"{self.subset}-{self.anchor}"

    @property
    def drawn_with(self) -> str:
        """Name of the cell in which its number was given: of its split and topic."""
        return self.subset if self.turn else self.cell

    @property
    def opens(self) -> bool:
        """Whether nothing was said before it."""
        return self.turn is None or self.turn.number == 1

    @property
    def emotion(self) -> str:
        """The emotion a listener should hear in the query."""
        return NEUTRAL if self.anchor is None else self.anchor


@dataclass(frozen=True, slots=True)
class PairSlot:
    """A place for one pair: a query and a response suited to `anchor`.

    Where the response is suited to a point between the anchors, `place` is that, and `anchor` the
    one of the greatest weight.
    """

    id: str
    query: QuerySlot
    anchor: str
    place: Place | None = None

    @property
    def cell(self) -> str:
        """The rows a reader would count together: subset and response emotion."""
        return f"{self.query.subset}-{self.anchor}"
