"""Slots: the places of the corpus, laid out before anything is generated."""

from dataclasses import dataclass
from typing import Literal

Subset = Literal["emotional", "neutral", "grid"]
Split = Literal["train", "eval"]

EMOTIONAL: Subset = "emotional"
NEUTRAL: Subset = "neutral"
GRID: Subset = "grid"
SUBSETS: tuple[Subset, ...] = (EMOTIONAL, NEUTRAL, GRID)
"""Every subset, in slot order; `corpus.plan.subsets` has what each of them is."""
TEXT = "text"
"""The light config beside the subsets: every row, without audio."""
SPLITS: tuple[Split, ...] = ("train", "eval")


@dataclass(frozen=True, slots=True)
class QuerySlot:
    """A place for one query. `anchor` is the emotion it is spoken in; None is a neutral query."""

    id: str
    subset: Subset
    anchor: str | None
    number: int
    split: Split

    @property
    def cell(self) -> str:
        """What must be filled exactly: an anchor of the emotional subset, or another subset."""
        return self.subset if self.anchor is None else f"{self.subset}-{self.anchor}"

    @property
    def emotion(self) -> str:
        """The emotion a listener should hear in the query."""
        return NEUTRAL if self.anchor is None else self.anchor


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
