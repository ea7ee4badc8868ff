"""Near-duplicate rejection: exact, greedy, in the order in which candidates are given.

A candidate whose cosine similarity to an accepted one exceeds the threshold is rejected; otherwise
it is accepted and the next are judged against it too. Candidates are compared in blocks, a matrix
product each, which is some fifty times as fast as one by one. What a block's product says is only
used to find who may be nearest: the similarity that decides, and is reported, is computed anew,
exactly rounded. So the outcome does not depend on how candidates are cut into blocks and calls.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

BLOCK = 256
"""Candidates compared at once."""
TILE = 65_536
"""Accepted vectors that a block is compared with at once, which bounds the memory (64 MB)."""
SLACK = 5e-5
"""How far a float32 product of normalised vectors may be off: 384 roundings of 6e-8 make 2.3e-5."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a candidate; the nearest is the nearest of those accepted before it.

    `similarity` is rounded to six decimals; both are None when nothing was accepted before.
    """

    id: str
    accepted: bool
    nearest_id: str | None
    similarity: float | None


class Accepted:
    """What was accepted so far: normalised float32 vectors, and their names."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._ids: list[str] = []
        self._vectors: Vectors = np.zeros((0, 0), np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Takes in what stands already, [n, d], without judging it."""
        if len(ids) != len(vectors):
            raise ValueError(f"{len(ids)} ids do not match {len(vectors)} vectors")
        if not ids:
            return
        count, needed = len(self._ids), len(self._ids) + len(ids)
        if needed > len(self._vectors):
            # Doubled, so that the copying stays in proportion however the set grows.
            grown = np.zeros((max(needed, 2 * count), vectors.shape[1]), np.float32)
            if count:
                grown[:count] = self._vectors[:count]
            self._vectors = grown
        self._vectors[count:needed] = vectors
        self._ids.extend(ids)

    def judge(self, ids: Sequence[str], vectors: Vectors) -> list[Verdict]:
        """Decides candidates, [n, d], in order, and takes in those that are accepted."""
        if len(ids) != len(vectors):
            raise ValueError(f"{len(ids)} ids do not match {len(vectors)} vectors")
        verdicts: list[Verdict] = []
        for start in range(0, len(ids), BLOCK):
            verdicts += self._judge_block(
                ids[start : start + BLOCK], vectors[start : start + BLOCK]
            )
        return verdicts

    def _judge_block(self, ids: Sequence[str], block: Vectors) -> list[Verdict]:
        before = len(self._ids)
        nearest_before = self._possibly_nearest(block)
        within = block @ block.T
        joined: list[int] = []  # rows of the block that were accepted
        verdicts: list[Verdict] = []
        for row, (name, vector) in enumerate(zip(ids, block, strict=True)):
            rivals = nearest_before[row]
            if joined:
                near = within[row, joined]
                close = np.flatnonzero(near >= near.max() - 2 * SLACK)
                rivals = rivals + [before + int(place) for place in close]
            # The earliest of equals, so that the order of comparing does not matter.
            exact, place = max(
                ((_cosine(vector, self._vectors[place]), -place) for place in rivals),
                default=(None, 0),
            )
            accepted = exact is None or exact <= self._threshold
            verdicts.append(
                Verdict(
                    name,
                    accepted,
                    None if exact is None else self._ids[-place],
                    None if exact is None else round(exact, 6),
                )
            )
            if accepted:
                joined.append(row)
                self.add([name], block[row : row + 1])
        return verdicts

    def _possibly_nearest(self, block: Vectors) -> list[list[int]]:
        """For each row of a block, the accepted that may be its nearest once computed exactly."""
        count = len(self._ids)
        best = np.full(len(block), -np.inf, np.float32)
        found: list[list[tuple[float, int]]] = [[] for _ in block]
        for start in range(0, count, TILE):
            similarity = block @ self._vectors[start : min(start + TILE, count)].T
            best = np.maximum(best, similarity.max(axis=1))
            rows, places = np.nonzero(similarity >= (best - 2 * SLACK)[:, None])
            for row, place in zip(rows, places, strict=True):
                found[row].append((float(similarity[row, place]), start + int(place)))
        return [
            [place for close, place in pairs if close >= top - 2 * SLACK]
            for pairs, top in zip(found, best, strict=True)
        ]


def _cosine(one: Vectors, other: Vectors) -> float:
    """The dot product of two normalised float32 vectors, exactly rounded.

    Products of two float32 numbers are exact in float64, and `fsum` rounds once, at the end.
    """
    return math.fsum((one.astype(np.float64) * other.astype(np.float64)).tolist())
