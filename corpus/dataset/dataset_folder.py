"""A finished dataset as it is read: what it was planned to be, and the rows that are there.

Rows come from the files as they are asked for, some hundred at a time, so a corpus of any size is
read in the same memory.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.dataset.manifest import read_manifest
from corpus.errors import SympatheiaError
from corpus.run.run_folder import RunFolder
from schemas.slots import SUBSETS, Split, Subset
from schemas.tables import ROWS, TEXT_ROWS

Row = dict[str, Any]

ROWS_AT_ONCE = 512
"""Rows in memory where they are read without audio; a row of texts is some two thousand bytes."""
CLIPS_AT_ONCE = 8
"""Rows in memory where they are read with audio, half a megabyte each."""
READ_BYTES = 1 << 20
"""Read from a file at a time. A row group of audio, which is 32 MB, would else be read whole."""


class DatasetFolder:
    """A folder with a manifest.

    Args:
        folder: a run folder, or a dataset folder.

    Attributes:
        root: the dataset folder.
        run: what knows more of it, if it was opened as the run's folder; else there is nothing in
            it.
        manifest: what the dataset says of itself.
        blueprint: what it was planned to be.
        slots: every pair planned, by id.

    Raises:
        InvalidInput: the folder has no manifest, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self.run = RunFolder(folder)
        corpus = self.run.corpus
        self.root = corpus if corpus.is_dir() else folder
        self.manifest = read_manifest(self.root)
        self.blueprint = self.manifest.blueprint()
        self.slots = {pair.id: pair for pair in self.blueprint.plan.pairs()}

    def name(self, path: Path) -> str:
        """A file's name within the folder."""
        return path.relative_to(self.root).as_posix()

    def parquet_files(self) -> list[Path]:
        """Every Parquet file, by name."""
        return sorted(self.root.rglob("*.parquet"))

    @cached_property
    def readable(self) -> list[Path]:
        """The Parquet files in which rows are looked for: those of the manifest.

        Who looks at what may be damaged puts those here that can be read.

        Raises:
            SympatheiaError: one is missing or damaged.
        """
        paths = [self.root / name for name in self.manifest.files if name.endswith(".parquet")]
        for path in paths:
            try:
                pq.ParquetFile(path).close()
            except (pa.ArrowInvalid, OSError) as error:
                raise unreadable(path) from error
        return paths

    def rows(
        self, part: str, columns: Sequence[str] = TEXT_ROWS.names
    ) -> Iterator[tuple[Path, Row]]:
        """The rows of a subset or of the light config, in file order, each with its file."""
        for path in self.readable:
            if path.parent.name == part:
                yield from ((path, row) for row in shard_rows(path, columns))

    def pairs(
        self,
        subset: Subset | None = None,
        split: Split | None = None,
        columns: Sequence[str] = TEXT_ROWS.names,
    ) -> Iterator[Row]:
        """The first row of each planned id: a subset after the other, and in it a split.

        Args:
            subset: whose rows alone; those of both if None.
            split: whose rows alone; those of both if None.
            columns: `id` among them; all but the audio if not given.
        """
        seen: set[str] = set()
        for part in SUBSETS if subset is None else (subset,):
            for path, row in self.rows(part, columns):
                if split is not None and split_of(path) != split:
                    continue
                if row["id"] in self.slots and row["id"] not in seen:
                    seen.add(row["id"])
                    yield row

    def pairs_with_audio(self, ids: Collection[str]) -> Iterator[Row]:
        """The rows of some ids with their clips, in file order; only their row groups are read."""
        for path in self.readable:
            if path.parent.name not in SUBSETS:
                continue
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    names = file.read_row_group(group, columns=["id"]).column("id").to_pylist()
                    places = [place for place, name in enumerate(names) if name in ids]
                    if places:
                        yield from file.read_row_group(group).take(places).to_pylist()


def split_of(path: Path) -> str:
    """The split that a shard's name says."""
    return path.name.partition("-")[0]


def shard_rows(
    path: Path, columns: Sequence[str] = ROWS.names, groups: Iterable[int] | None = None
) -> Iterator[Row]:
    """The rows of a Parquet file, or of some of its row groups, in order; memory stays flat.

    Raises:
        SympatheiaError: the file is missing or damaged.
    """
    at_once = ROWS_AT_ONCE if set(columns) <= set(TEXT_ROWS.names) else CLIPS_AT_ONCE
    try:
        with opened(path) as file:
            for batch in batches(file, at_once, columns, groups):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise unreadable(path) from error


def unreadable(path: Path) -> SympatheiaError:
    """What is said of a Parquet file that cannot be read."""
    return SympatheiaError(
        f"{path} is {'damaged' if path.is_file() else 'missing'}. Build the corpus again from its "
        "run folder, or fetch the dataset anew; 'sympatheia check' tells what else is wrong."
    )


def opened(path: Path) -> pq.ParquetFile:
    """A Parquet file, to be read a little at a time."""
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES)


def batches(
    file: pq.ParquetFile,
    rows: int,
    columns: Sequence[str] | None = None,
    groups: Iterable[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """So many rows at a time of some row groups and columns; of all that are not given."""
    # A row group after the other: asked for together, they would be read ahead.
    for group in range(file.num_row_groups) if groups is None else groups:
        yield from file.iter_batches(
            rows, row_groups=[group], columns=columns and list(columns), use_threads=False
        )
