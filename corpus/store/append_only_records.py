"""Records: answers and measures by digest, in append-only segments, one to a writing process.

So several processes and machines may write side by side. A line is written with one system call:
after a kill it is either whole or the torn last line of a segment. What is damaged counts as never
written, is named in the log, and is asked for or made again by whoever looks for it.
"""

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from corpus.errors import SympatheiaError
from corpus.store.files import Unsynced, append_whole, make_folder
from corpus.store.segments import (
    FORGOTTEN,
    SUFFIX,
    Shape,
    line_of,
    name_behind,
    read_lines,
    record_of,
)

ELSEWHERE = "elsewhere"
"""The folder, beside a run's own segments, of those that came from other runs."""

KEPT_OPEN = 64
"""Segments of a folder that stay open for reading; more would run into the limit on open files."""

log = logging.getLogger(__name__)


class Records:
    """A folder of records by digest; holds only where each lies, not the records themselves.

    The folder's own records win over those from elsewhere, because what was decided was decided on
    them; of these, those that arrived first win, and among them those of the earliest segment,
    unless a later one takes them back. Of two of its own the later one wins; only what was
    forgotten or damaged in between has two. Segments are numbered, so no clock is asked which.

    Memory is about 200 bytes a record. Safe for several threads of one process.

    Args:
        folder: where the segments lie; it need not be there.
        shape: what every record has.
        unsynced: takes note of what is written, for its owner to sync; `sync` does if None.
    """

    def __init__(self, folder: Path, shape: Shape, unsynced: Unsynced | None = None) -> None:
        self._folder = folder
        self._shape = shape
        self._unsynced = unsynced or Unsynced()
        self._places: dict[bytes, int] = {}
        self._segments: list[int | Path] = []  # open, or to be opened for each read
        self._writer: int | None = None
        self._written = folder
        self._end = 0
        self._lock = threading.Lock()
        taken_back: set[bytes] = set()
        # The last one indexed wins.
        for path in sorted(folder.glob(f"{ELSEWHERE}/*/*{SUFFIX}"), reverse=True):
            found, forgotten = self._index(path)
            stand = {k: place for k, place in found.items() if k not in taken_back}
            self._places |= stand
            taken_back |= forgotten
        self._from_elsewhere = len(self._segments)
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            found, forgotten = self._index(path)
            for key in forgotten:
                self._places.pop(key, None)
            self._places |= found

    def _index(self, path: Path) -> tuple[dict[bytes, int], set[bytes]]:
        """Where the records of a segment lie, and the keys that it takes back before."""
        segment = len(self._segments)
        few = segment < KEPT_OPEN
        self._segments.append(os.open(path, os.O_RDONLY) if few else path)
        places: dict[bytes, int] = {}
        forgotten: set[bytes] = set()
        damaged = []
        for line in read_lines(path, self._shape):
            if line.torn:
                log.info("torn", extra={"file": str(path), "byte": line.offset})
            elif line.key is None:
                damaged.append(line.offset)
            elif line.forgets:
                places.pop(line.key, None)
                forgotten.add(line.key)
            else:
                places[line.key] = _place(segment, line.offset, line.length)
        if damaged:
            log.warning(
                "%s has damaged lines (%d, the first at byte %d). What they held is made again "
                "when it is needed; 'sympatheia check RUN --store --forget' lets go of them.",
                path,
                len(damaged),
                damaged[0],
            )
        return places, forgotten

    def __contains__(self, digest: str) -> bool:
        return bytes.fromhex(digest) in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, digest: str) -> dict[str, Any] | None:
        """The record under a digest; None if there is none, or none that is whole."""
        key = bytes.fromhex(digest)
        place = self._places.get(key)
        if place is None:
            return None
        offset, length = place >> 32 & 0xFFFF_FFFF_FFFF, place & 0xFFFF_FFFF
        file = self._segments[_segment_of(place)]
        if isinstance(file, Path):
            with file.open("rb") as opened:
                line = os.pread(opened.fileno(), length, offset)
        else:
            line = os.pread(file, length, offset)
        record = record_of(line, self._shape)
        if record is None:
            with self._lock:
                if self._places.get(key) == place:
                    del self._places[key]
            log.warning(
                "The record %s in %s is damaged; it is made again when it is needed.",
                digest,
                self._folder,
            )
        return record

    def require(self, digest: str) -> dict[str, Any]:
        """The record under a digest, which was there when the store was opened.

        Raises:
            SympatheiaError: it has been damaged since.
        """
        record = self.get(digest)
        if record is None:
            raise SympatheiaError(
                f"The record {digest} in {self._folder} is lost. Run the same command again: it "
                "is asked for or made once more."
            )
        return record

    @property
    def own_count(self) -> int:
        """Number of records that are the folder's own, not from elsewhere."""
        return sum(_segment_of(place) >= self._from_elsewhere for place in self._places.values())

    def own(self) -> Iterator[str]:
        """The digests of the folder's own records, in their order."""
        own = (k for k, place in self._places.items() if _segment_of(place) >= self._from_elsewhere)
        for key in sorted(own):
            yield key.hex()

    def values(self) -> Iterator[dict[str, Any]]:
        """Every whole record of the folder's own, in the order of their digests."""
        for digest in self.own():
            record = self.get(digest)
            if record is not None:
                yield record

    def forget(self, digest: str) -> None:
        """Takes back the record of a digest, if there is one, so that another may be put.

        Raises:
            OSError: the disk is full or fails; the record stands.
        """
        with self._lock:
            if bytes.fromhex(digest) in self._places:
                self._append(digest, FORGOTTEN)
                del self._places[bytes.fromhex(digest)]

    def put(self, digest: str, record: dict[str, Any]) -> None:
        """Appends a record; a digest that is already there is left as it is.

        Raises:
            OSError: the disk is full or fails; nothing of the record is kept.
        """
        body = orjson.dumps(record)
        with self._lock:
            key = bytes.fromhex(digest)
            if key not in self._places:
                start = self._append(digest, body)
                self._places[key] = _place(len(self._segments) - 1, start, self._end - start)

    def _append(self, digest: str, body: bytes) -> int:
        """Writes a line; gives the place at which it begins."""
        if self._writer is None:
            self._writer = self._open_segment()
        line = line_of(digest, body)
        append_whole(self._writer, line, self._end)
        self._unsynced.add_file(self._writer)
        self._end += len(line)
        return self._end - len(line)

    def _open_segment(self) -> int:
        make_folder(self._folder)
        name = name_behind(path.name for path in self._folder.glob(f"*{SUFFIX}"))
        self._written = self._folder / f"{name}{SUFFIX}"
        segment = os.open(self._written, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        self._unsynced.add_folder(self._folder)
        self._segments.append(segment if len(self._segments) < KEPT_OPEN else self._written)
        self._end = 0
        return segment

    def sync(self) -> None:
        """Returns when the disk has everything that was put before.

        Raises:
            OSError: the disk fails.
        """
        self._unsynced.sync()

    def end_segment(self) -> Path | None:
        """Has the next record open a new segment.

        Returns:
            The segment that has ended, which never changes again and is on the disk; None if
            nothing was put since.

        Raises:
            OSError: the disk fails.
        """
        with self._lock:
            writer, self._writer = self._writer, None
            written, to_close = self._written, self._segments and self._segments[-1] != writer
        if writer is None:
            return None
        self.sync()  # others may put meanwhile, into a new segment
        if to_close:
            os.close(writer)
        return written

    def close(self) -> None:
        """Syncs and closes every segment.

        Raises:
            OSError: the disk fails.
        """
        try:
            self.end_segment()
        finally:
            for segment in self._segments:
                if isinstance(segment, int):
                    os.close(segment)
            self._segments.clear()
            self._places.clear()


def _place(segment: int, offset: int, length: int) -> int:
    """Where a line lies, as one number: a tuple would take 120 bytes more, millions of times."""
    return segment << 80 | offset << 32 | length


def _segment_of(place: int) -> int:
    return place >> 80
