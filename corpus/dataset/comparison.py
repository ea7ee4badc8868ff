"""What differs between two finished datasets, or two states of one, by row and by column."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain

from corpus.dataset.dataset_folder import DatasetFolder

DIGEST_BYTES = 8
"""Of one value, kept in its place; two values in 10^19 are taken for alike that are not."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """From one dataset to another; rows by their ids, in slot order.

    Attributes:
        added: rows that the other alone has.
        gone: rows that the other lacks.
        changed: for each column in which some differ, those rows.
        unchanged: how many rows are alike in every column that was compared.
    """

    added: tuple[str, ...]
    gone: tuple[str, ...]
    changed: dict[str, tuple[str, ...]]
    unchanged: int

    @property
    def moved(self) -> set[str]:
        """The rows of both that differ in any column."""
        return set().union(*self.changed.values())


def compared(one: DatasetFolder, other: DatasetFolder, *, audio: bool) -> Comparison:
    """How a dataset becomes the other.

    Args:
        one: the one.
        other: the other.
        audio: whether the clips' bytes are compared too, for which all of both is read.

    Raises:
        SympatheiaError: a file of one of them is missing or damaged.
    """
    both = (side.columns if audio else side.text_columns for side in (one, other))
    columns = [name for name in dict.fromkeys(chain(*both)) if name != "id"]
    before, after = _digests(one, columns), _digests(other, columns)
    changed: defaultdict[str, list[str]] = defaultdict(list)
    unchanged = 0
    for row_id, old in before.items():
        new = after.get(row_id, old)
        for place, name in enumerate(columns):
            span = slice(place * DIGEST_BYTES, (place + 1) * DIGEST_BYTES)
            if old[span] != new[span]:
                changed[name].append(row_id)
        unchanged += row_id in after and old == new
    return Comparison(
        added=tuple(row_id for row_id in after if row_id not in before),
        gone=tuple(row_id for row_id in before if row_id not in after),
        changed={name: tuple(changed[name]) for name in columns if changed[name]},
        unchanged=unchanged,
    )


def _digests(dataset: DatasetFolder, columns: Sequence[str]) -> dict[str, bytes]:
    """Of each row the digests of its values, one behind the other."""
    there = [name for name in columns if name in dataset.columns]
    return {
        row["id"]: b"".join(
            blake2b(_content(row.get(name)), digest_size=DIGEST_BYTES).digest() for name in columns
        )
        for _, row in dataset.first_rows(columns=["id", *there])
    }


def _content(value: object) -> bytes:
    """What tells a value from others; of a clip its bytes, whatever its file was called."""
    sound = value.get("bytes") if isinstance(value, dict) else None
    return sound if isinstance(sound, bytes) else repr(value).encode()
