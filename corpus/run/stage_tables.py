"""Writes and reads the tables that stages hand to each other, and the table of rejects."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.errors import SympatheiaError
from corpus.store.files import whole_file
from schemas.tables import REJECTS, REVIEWED_REJECTS

ROWS_AT_ONCE = 5_000
"""Rows held in memory while a table is read or written."""

Row = dict[str, Any]

log = logging.getLogger(__name__)

_REPLACING = threading.Lock()


def write_table(
    path: Path, schema: pa.Schema, rows: Iterable[Row], at_once: int = ROWS_AT_ONCE
) -> None:
    """Writes rows to a Parquet file that appears only when whole; memory stays flat.

    Args:
        path: the file.
        schema: of its columns.
        rows: in order.
        at_once: how many are a row group, and in memory.

    Raises:
        OSError: the disk is full or fails; what stood under the name before is untouched.
    """
    iterator, begun, count = iter(rows), time.monotonic(), 0
    with (
        whole_file(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        while batch := list(islice(iterator, at_once)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    seconds = round(time.monotonic() - begun, 3)
    log.info("table", extra={"table": path.stem, "rows": count, "seconds": seconds})


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a table, in order; memory stays flat.

    Raises:
        SympatheiaError: the file was changed on disk.
    """
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise SympatheiaError(
            f"{path} is damaged ({error}). Delete it and build again: it is made anew from the "
            "store, at no cost."
        ) from error


def replace_rejects(path: Path, stages: tuple[str, ...], rows: Iterable[Row]) -> None:
    """Puts the rejects of some stages in the place of those they had; the other stages' stay.

    Stages that are at work side by side, each in its own thread, may call it at the same time.
    """
    with _REPLACING:
        _replace_rejects(path, stages, rows)


def _replace_rejects(path: Path, stages: tuple[str, ...], rows: Iterable[Row]) -> None:
    others = [r for r in read_rows(path) if r["stage"] not in stages] if path.exists() else []
    blank = dict.fromkeys(REVIEWED_REJECTS.names)
    both = [*others, *(blank | row for row in rows)]
    order = ("queries", "responses", "annotations", "speech")
    both.sort(key=lambda row: order.index(row["stage"]))
    # Without the column where nobody struck anything, so that such a file stays as it ever was.
    schema = REVIEWED_REJECTS if any(row.get("note") for row in both) else REJECTS
    if schema is REJECTS:
        both = [{name: row[name] for name in REJECTS.names} for row in both]
    write_table(path, schema, both)
