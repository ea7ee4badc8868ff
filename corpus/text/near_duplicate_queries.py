"""Exact greedy rejection of near-duplicates, in order.

A candidate is rejected if its cosine with anything accepted before it exceeds the threshold.
Candidates are compared in blocks, by one matrix product with everything accepted and with the
block itself, and decided one after the other. A float32 product rounds differently at another
shape, so it only names the candidates for the nearest neighbour: whoever can be nearest within its
greatest possible error is multiplied again exactly. Verdicts therefore do not depend on how the
candidates are cut into blocks and calls.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""Most candidates in a matrix product: 512 to 1024 are no faster."""
COSINES = 16_000_000
"""Most cosines in a matrix product, 64 MB: from 62,500 accepted on the blocks get smaller."""
FLOAT32_ROUNDING = 2.0**-24
LONGEST = 1.0001
"""Greatest length of a vector; normalising in float32 stays within 1e-6 of 1."""

Vectors = NDArray[np.float32]


class Verdict(NamedTuple):
    """What was decided about a candidate.

    Attributes:
        id: The candidate's.
        accepted: Whether no accepted neighbour is closer than the threshold.
        nearest_id: The nearest accepted before it, of equals the earliest; None for the very first.
        similarity: The cosine with it, to six decimals; None for the very first.
    """

    id: str
    accepted: bool
    nearest_id: str | None
    similarity: float | None


class Accepted:
    """The accepted vectors and their ids, in the order of their acceptance.

    Args:
        threshold: The cosine from which on a candidate is rejected.
        room: How many there may be in the end; memory is taken as they come, and with room for
            all nothing has to be copied to make more.
        block: Most candidates in a matrix product.
    """

    def __init__(self, threshold: float, room: int = 0, block: int = BLOCK) -> None:
        self.threshold = threshold
        self.ids: list[str] = []
        self._room = room
        self._block = block
        self._rows: Vectors = np.empty((0, 0), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Accepts without judging: what stands already.

        Args:
            ids: One id per vector.
            vectors: float32 [len(ids), dimension], rows of length 1 at most.
        """
        if not ids:
            return
        self._check(ids, vectors)
        self._reserve(len(ids), vectors.shape[1])
        self._rows[len(self) : len(self) + len(ids)] = vectors
        self.ids.extend(ids)

    def judge(self, ids: Sequence[str], vectors: Vectors) -> list[Verdict]:
        """Decides candidates in the order given; the accepted ones stand from then on.

        Args:
            ids: One id per vector.
            vectors: float32 [len(ids), dimension], rows of length 1 at most.

        Returns:
            One verdict per candidate, in the same order.
        """
        if not ids:
            return []
        self._check(ids, vectors)
        verdicts: list[Verdict] = []
        start = 0
        while start < len(ids):
            end = start + min(self._block, max(1, COSINES // (len(self) + self._block)))
            verdicts += self._judge_block(ids[start:end], vectors[start:end])
            start = end
        return verdicts

    def _judge_block(self, ids: Sequence[str], vectors: Vectors) -> list[Verdict]:
        before, count = len(self), len(ids)
        self._reserve(count, vectors.shape[1])
        # The block stands behind the accepted, for now whole: columns of it that are not accepted
        # are out of the running, as are the columns of later candidates.
        self._rows[before : before + count] = vectors
        scores = vectors @ self._rows[: before + count].T
        # A sum of d products in float32, in any order, is off by at most d roundings of the sum of
        # their sizes, which for vectors of length 1 is at most 1 (Higham 2002, eq. 3.5). Two such
        # errors lie between the true nearest and the apparent one.
        margin = 2.1 * vectors.shape[1] * FLOAT32_ROUNDING

        verdicts: list[Verdict] = []
        kept: list[int] = []
        for place, (candidate, vector) in enumerate(zip(ids, vectors, strict=True)):
            row = scores[place, : before + place]
            column, similarity = self._nearest(vector, row, margin)
            accepted = similarity is None or similarity <= self.threshold
            verdicts.append(
                Verdict(
                    candidate,
                    accepted,
                    None if column is None else self._name(column, before, ids),
                    None if similarity is None else round(similarity, 6),
                )
            )
            if accepted:
                kept.append(place)
            else:
                scores[:, before + place] = -np.inf
        self._rows[before : before + len(kept)] = vectors[kept]
        self.ids.extend(ids[place] for place in kept)
        return verdicts

    def _name(self, column: int, before: int, block_ids: Sequence[str]) -> str:
        return self.ids[column] if column < before else block_ids[column - before]

    def _nearest(
        self, vector: Vectors, row: Vectors, margin: float
    ) -> tuple[int | None, float | None]:
        """The nearest column of a row of scores and the exact cosine with it.

        The product of two float32 is exact in float64 and `fsum` rounds their sum once, so the
        result does not depend on an order of summation.
        """
        top = row.max(initial=-np.inf)
        if top == -np.inf:
            return None, None
        wide = vector.astype(np.float64)
        columns = np.flatnonzero(row >= top - margin)
        exact = [math.fsum((wide * self._rows[column]).tolist()) for column in columns]
        similarity = max(exact)
        # Rounding may have left a vector a hair too long; nothing is more alike than itself.
        return int(columns[exact.index(similarity)]), min(similarity, 1.0)

    def _check(self, ids: Sequence[str], vectors: Vectors) -> None:
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise ValueError(f"Vectors must be float32 [n, d], not {vectors.dtype} {vectors.shape}")
        if len(ids) != len(vectors):
            raise ValueError(f"Number of ids ({len(ids)}) must match vectors ({len(vectors)})")
        if self.ids and vectors.shape[1] != self._rows.shape[1]:
            raise ValueError(
                f"Dimension of vectors ({vectors.shape[1]}) must match the accepted "
                f"({self._rows.shape[1]})"
            )
        longest = float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max()))
        if not longest <= LONGEST:
            raise ValueError(f"Vectors must be finite and normalised; the longest is {longest:.4g}")

    def _reserve(self, count: int, dimension: int) -> None:
        """Makes room for count more rows, doubling it where what was asked for is used up."""
        needed = len(self) + count
        if needed <= len(self._rows) and dimension == self._rows.shape[1]:
            return
        room = max(needed, 2 * len(self._rows), self._room + self._block)
        grown = np.empty((room, dimension), dtype=np.float32)
        if self.ids:
            grown[: len(self)] = self._rows[: len(self)]
        self._rows = grown
