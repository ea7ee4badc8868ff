"""Points between the anchors: drawn so that they spread, and told by the anchors around them.

A point depends on the seed, its query's number and its own number, and on the points of its query
before it: never on how many there are. Candidates come from a Halton sequence over the whole plane,
which every query has shifted by its own amount, and each number has a thread of it to itself. So a
grid grows in both directions without moving what stands, and a new anchor moves only points that
now have an earlier candidate within the hull, or one that lies too near to such a point.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from corpus.errors import InvalidInput
from corpus.plan.seeds import derive
from corpus.plan.subsets.blends import DIGITS
from schemas.prompts import Anchor
from schemas.slots import Place

NEAREST = 0.1
"""How near two points of a query may lie. The nearest two of the bundled anchors are 0.43 apart:
this is a quarter of that, and leaves room for some 150 points in their hull."""
MOST_POINTS = 99
"""Of a query: their numbers have two digits."""
THREADS = 101
"""Of the Halton sequence, one for each number of a point: a prime that is none of its bases (2 and
3), so that each thread spreads over the plane by itself."""
TRIES, AT_ONCE = 1024, 32
"""Candidates of a point that are looked at before the hull is said to be full, and in one go. Over
half of the plane lies in the hull of the bundled anchors, a tenth of it is free at 99 points: a
point that finds nothing there is one in 10^25."""

Points = NDArray[np.float64]


class PlanePoints:
    """The points of every query.

    Args:
        anchors: by name, in the order of the corpus.
        seed: of the recipe.

    Raises:
        InvalidInput: the anchors have no hull.
    """

    def __init__(self, anchors: Mapping[str, Anchor], seed: int) -> None:
        from scipy.spatial import Delaunay, QhullError  # takes a while to import

        self._names = tuple(anchors)
        self._seed = seed
        self._drawn: dict[int, list[Place]] = {}
        corners = np.array([(one.valence, one.arousal) for one in anchors.values()])
        try:
            self._triangles = Delaunay(corners)
        except (QhullError, ValueError):
            raise InvalidInput(
                "grid.queries: a grid lies between three anchors or more that are not in a line, "
                f"and anchors has {', '.join(anchors)}. Name more anchors, or set it to 0."
            ) from None

    def of(self, query: int, count: int) -> list[Place]:
        """The first `count` points of a query, by its number.

        Raises:
            InvalidInput: there is no room for so many.
        """
        places = self._drawn.get(query, [])
        if len(places) < count:
            places = self._drawn[query] = self._draw(query, count)
        return places[:count]

    def _draw(self, query: int, count: int) -> list[Place]:
        shift = np.array([derive(self._seed, "grid", query, axis) for axis in range(2)]) / 2**31
        taken = np.empty((0, 2))
        for number in range(count):
            found = next(self._fitting(self._halton[:, number] + shift, taken), None)
            if found is None:
                raise InvalidInput(
                    f"grid.points: no room for {count} points that are {NEAREST:g} apart between "
                    f"the anchors; {number} fit. Set fewer, or name more anchors."
                )
            taken = np.vstack([taken, found])
        return [self.at(*map(float, point)) for point in taken]

    def _fitting(self, thread: Points, taken: Points) -> Iterator[Points]:
        """The candidates of a thread [TRIES, 2], modulo 1, that may be the next point."""
        for start in range(0, TRIES, AT_ONCE):
            unit = thread[start : start + AT_ONCE] % 1
            points = np.round(2 * unit - 1, DIGITS) + 0.0  # without -0.0
            apart = np.hypot(*(points[:, None] - taken).transpose(2, 0, 1)) >= NEAREST
            inside = self._triangles.find_simplex(points) >= 0
            yield from points[apart.all(axis=1) & inside]

    @cached_property
    def _halton(self) -> Points:
        """The sequence as tries of all numbers [TRIES, THREADS, 2], in [0, 1)."""
        from scipy.stats import qmc

        sequence: Points = qmc.Halton(2, scramble=False).random(TRIES * THREADS)
        return sequence.reshape(TRIES, THREADS, 2)

    def at(self, valence: float, arousal: float) -> Place:
        """A point within the hull, with the anchors around it."""
        point = np.array([valence, arousal])
        triangle = int(self._triangles.find_simplex(point))
        affine = self._triangles.transform[triangle]
        first = affine[:2] @ (point - affine[2])
        weights = np.round([*first, 1 - first.sum()], DIGITS)
        corners = self._triangles.simplices[triangle]
        around = sorted(
            ((float(weight), int(corner)) for weight, corner in zip(weights, corners, strict=True)),
            key=lambda one: (-one[0], one[1]),
        )
        rest = [(self._names[corner], weight) for weight, corner in around[1:] if weight > 0]
        # Roundings must not add up to more or less than all.
        most = round(1 - sum(weight for _, weight in rest), DIGITS)
        return Place(valence, arousal, ((self._names[around[0][1]], most), *rest))
