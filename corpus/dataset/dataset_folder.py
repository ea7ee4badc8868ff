"""A dataset folder as `check` reads it: what it was planned to be, and the rows that are there."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.dataset.manifest import read_manifest
from corpus.errors import SympatheiaError
from corpus.run.run_folder import RunFolder
from schemas.slots import SUBSETS
from schemas.tables import TEXT_ROWS

Row = dict[str, Any]


def dataset_root(folder: Path) -> Path:
    """The dataset folder of a run folder; any other folder is taken to be one itself."""
    corpus = RunFolder(folder).corpus
    return corpus if corpus.is_dir() else folder


class DatasetFolder:
    """A folder with a manifest.

    Attributes:
        readable: the Parquet files that can be read and have the format's columns; those that look
            into the rows look into these alone.

    Raises:
        InvalidInput: the folder has no manifest, or a damaged one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = read_manifest(root)
        self.blueprint = self.manifest.blueprint()
        self.slots = {pair.id: pair for pair in self.blueprint.plan.pairs()}
        self.readable: list[Path] = []

    def name(self, path: Path) -> str:
        """A file's name within the folder."""
        return path.relative_to(self.root).as_posix()

    def parquet_files(self) -> list[Path]:
        """Every Parquet file, by name."""
        return sorted(self.root.rglob("*.parquet"))

    def require_files(self) -> None:
        """Passes if every Parquet file of the manifest is there and can be read; fills `readable`.

        Raises:
            SympatheiaError: one is missing or damaged.
        """
        self.readable = []
        for name in self.manifest.files:
            path = self.root / name
            if path.suffix != ".parquet":
                continue
            try:
                pq.ParquetFile(path).close()
            except (pa.ArrowInvalid, OSError) as error:
                raise SympatheiaError(
                    f"{path} is {'damaged' if path.is_file() else 'missing'}. Build the corpus "
                    "again from its run folder, or fetch the dataset anew; 'sympatheia check' "
                    "tells what else is wrong."
                ) from error
            self.readable.append(path)

    def rows(self, part: str) -> Iterator[tuple[Path, Row]]:
        """The rows of a subset or of the light config, without audio, in file order."""
        for path in self.readable:
            if path.parent.name == part:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(columns=TEXT_ROWS.names):
                        yield from ((path, row) for row in batch.to_pylist())

    @cached_property
    def pairs(self) -> dict[str, Row]:
        """The first row of each planned id, without audio; a corpus of texts fits in memory."""
        found: dict[str, Row] = {}
        for part in SUBSETS:
            for _, row in self.rows(part):
                if row["id"] in self.slots:
                    found.setdefault(row["id"], row)
        return found
