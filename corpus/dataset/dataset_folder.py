"""A finished dataset as it is read: what it was planned to be, and the rows that are there.

Rows come from the files as they are asked for, some hundred at a time, so a corpus of any size is
read in the same memory.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.dataset.manifest import opened_manifest
from corpus.errors import SympatheiaError
from corpus.git_lfs import POINTER, is_pointer
from corpus.plan.user_input import one_line
from corpus.run.run_folder import RunFolder
from schemas.slots import SPLITS, SUBSETS, TEXT, Split, Subset
from schemas.tables import ADDED, ROWS, SOUNDS, rows_with, text_rows_with

Row = dict[str, Any]

ROWS_AT_ONCE = 512
"""Rows in memory where they are read without audio; a row of texts is some two thousand bytes."""
CLIPS_AT_ONCE = 8
"""Rows in memory where they are read with audio, half a megabyte each."""
UNREADABLE: Final = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What is raised where a Parquet file is damaged."""
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
        self.manifest, self.blueprint = opened_manifest(self.root)
        self.slots = {pair.id: pair for pair in self.blueprint.plan.pairs()}

    @property
    def columns(self) -> list[str]:
        """Of its rows, with the clips."""
        names: list[str] = rows_with(self.blueprint.plan.columns).names
        return names

    @property
    def text_columns(self) -> list[str]:
        """Of its rows, without the clips."""
        return [name for name in self.columns if name not in SOUNDS]

    def wrong_columns(self, path: Path, schema: pa.Schema) -> str:
        """The columns that a Parquet file has or lacks beside those it should have, or nothing."""
        added = self.blueprint.plan.columns
        wanted = text_rows_with(added) if path.parent.name == TEXT else rows_with(added)
        if schema.equals(wanted):
            return ""
        wrong = {field.name for field in schema} ^ {field.name for field in wanted}
        return one_line(", ".join(sorted(wrong))) or "other types"

    def name(self, path: Path) -> str:
        """A file's name within the folder."""
        return path.relative_to(self.root).as_posix()

    def parquet_files(self) -> list[Path]:
        """Every Parquet file, by name."""
        return [path for path in self.files() if path.suffix == ".parquet"]

    def files(self) -> list[Path]:
        """Every file, by name, but those of version control, downloads and editors."""
        return sorted(
            path
            for path in self.root.rglob("*")
            if path.is_file() and not _hidden(path.relative_to(self.root))
        )

    @cached_property
    def readable(self) -> list[Path]:
        """The Parquet files in which rows are looked for: those of the manifest.

        Who looks at what may be damaged puts those here that can be read.

        Raises:
            SympatheiaError: one is missing or damaged, or is not the one of the manifest.
        """
        listed = {self.root / name: facts.rows for name, facts in self.manifest.files.items()}
        paths = [path for path in listed if path.suffix == ".parquet"]
        for path in paths:
            try:
                with pq.ParquetFile(path) as file:
                    schema, rows = file.schema_arrow, file.metadata.num_rows
            except UNREADABLE as error:
                raise unreadable(path) from error
            wrong = self.wrong_columns(path, schema)
            if wrong:
                raise SympatheiaError(f"{path} has other columns than a corpus: {wrong}. {REMEDY}")
            if rows != listed[path]:
                raise SympatheiaError(
                    f"{path} has {rows:,} rows, and {listed[path]} by the manifest. {REMEDY}"
                )
        return paths

    def require_planned(self) -> None:
        """Passes if the rows are those of the plan, in its order: else it is another corpus.

        Raises:
            SympatheiaError: they are not, or a file is missing or damaged.
        """
        for split in SPLITS:
            planned = [pair.id for pair in self.slots.values() if pair.query.split == split]
            found = [
                row["id"]
                for subset in SUBSETS
                for path, row in self.rows(subset, ("id",))
                if split_of(path) == split
            ]
            if found != planned:
                raise SympatheiaError(
                    f"The {split} rows of {self.root} are not those of its plan (it has "
                    f"{len(found):,}, planned are {len(planned):,}); 'sympatheia check "
                    f"{self.root}' shows what is wrong."
                )

    def rows(self, part: str, columns: Sequence[str] | None = None) -> Iterator[tuple[Path, Row]]:
        """The rows of a subset or of the light config, in file order, each with its file.

        They come as they are, for who looks at what may be damaged.

        Args:
            part: the subset, or the light config.
            columns: all but the audio if None.
        """
        for path in self.readable:
            if path.parent.name == part:
                rows = shard_rows(path, self.text_columns if columns is None else columns)
                yield from ((path, row) for row in rows)

    def first_rows(
        self,
        subset: Subset | None = None,
        split: Split | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[tuple[Path, Row]]:
        """The first row of each planned id: a subset after the other, and in it a split.

        Each comes with its file, as it is.

        Args:
            subset: whose rows alone; those of every one if None.
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
                    yield path, row

    def pairs(
        self,
        subset: Subset | None = None,
        split: Split | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[Row]:
        """As `first_rows`, and none lacks a value.

        Raises:
            SympatheiaError: one does, or a file is missing or damaged.
        """
        for path, row in self.first_rows(subset, split, columns):
            yield whole_row(path, row)

    def pairs_with_audio(self, ids: Collection[str]) -> Iterator[Row]:
        """The rows of some ids with their clips, in file order; only their row groups are read.

        Raises:
            SympatheiaError: one lacks a value, or a file is damaged.
        """
        for path in self.readable:
            if path.parent.name not in SUBSETS:
                continue
            for group in row_groups(path):
                if any(row["id"] in ids for row in shard_rows(path, ("id",), (group,))):
                    for row in shard_rows(path, self.columns, (group,)):
                        if row["id"] in ids:
                            yield whole_row(path, row)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


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
    at_once = ROWS_AT_ONCE if SOUNDS.isdisjoint(columns) else CLIPS_AT_ONCE
    try:
        with opened(path) as file:
            for batch in batches(file, at_once, columns, groups):
                yield from batch.to_pylist()
    except UNREADABLE as error:
        raise unreadable(path) from error


REMEDY = (
    "Build the corpus again from its run folder, or fetch the dataset anew; 'sympatheia check' "
    "tells what else is wrong."
)


def unreadable(path: Path) -> SympatheiaError:
    """What is said of a Parquet file that cannot be read."""
    if not path.is_file():
        return SympatheiaError(f"{path} is missing. {REMEDY}")
    if is_pointer(path):
        return SympatheiaError(f"{path} is {POINTER}.")
    return SympatheiaError(f"{path} is damaged. {REMEDY}")


def whole_row(path: Path, row: Row) -> Row:
    """A row of a Parquet file, in which there is a value in each column of every corpus.

    Raises:
        SympatheiaError: one is missing, or is no number where one should be.
    """
    for name, value in row.items():
        given = value.get("bytes") if isinstance(value, dict) else value
        if given is None and name in ADDED:
            continue  # by another subset
        if given is None or given == b"" or (isinstance(given, float) and not math.isfinite(given)):
            which = one_line(str(row["id"]))
            raise SympatheiaError(f"The row {which} of {path} has no {name}. {REMEDY}")
    return row


def row_groups(path: Path) -> range:
    """The numbers of a Parquet file's row groups.

    Raises:
        SympatheiaError: the file is missing or damaged.
    """
    try:
        return range(pq.read_metadata(path).num_row_groups)
    except UNREADABLE as error:
        raise unreadable(path) from error


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
