"""The digest store: every answer that was paid for, under the digest of the request that made it.

Before anything is asked it is looked up here, which is what makes a run resumable, repeatable and
free to repeat. The store knows requests and answers, never slots or plans, so several runs may
share one.

Records (completions, clip measures, embeddings, speech tokens) are lines of append-only segment
files, one segment per writing process, so that several processes and machines can write side by
side. A line is written with one system call: after a kill it is either whole or the torn last line
of a segment, which is ignored. Blobs (clips) are files that appear under their name only when
whole. `corpus.store.opening` opens a store, and has one with a URL share what it holds.
"""

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import orjson

from corpus.errors import SympatheiaError

DIGEST_CHARS = 64

FORGOTTEN = b"{}\n"
"""What stands in a line instead of a record, when the one before it no longer holds."""

SUFFIX = ".jsonl"
"""What names of segment files end with."""

CLIP_SUFFIX = ".flac"

ELSEWHERE = "elsewhere"
"""The folder, beside a run's own segments, of those that came from other runs."""

KEPT_OPEN = 64
"""Segments of a folder that stay open for reading; more would run into the limit on open files."""


class Records:
    """A folder of records by digest; holds only where each lies, not the records themselves.

    The folder's own records win over those from elsewhere, because what was decided was decided on
    them; of these, those that arrived first win, and among them those of the earliest segment. Of
    two of its own the later one wins; only what was forgotten in between has two.

    Memory is about 200 bytes a record. Safe for several threads of one process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[bytes, int] = {}
        self._segments: list[int | Path] = []  # open, or to be opened for each read
        self._writer: int | None = None
        self._written = folder
        self._end = 0
        self._lock = threading.Lock()
        # The last one indexed wins.
        for path in sorted(folder.glob(f"{ELSEWHERE}/*/*{SUFFIX}"), reverse=True):
            self._index(path)
        self._from_elsewhere = len(self._segments)
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            self._index(path)

    def _index(self, path: Path) -> None:
        segment = len(self._segments)
        few = segment < KEPT_OPEN
        self._segments.append(os.open(path, os.O_RDONLY) if few else path)
        offset = 0
        with path.open("rb") as file:
            for line in file:
                # A line is '<digest> <json>\n'; one without its end was cut off by a kill.
                if line.endswith(b"}\n") and line[DIGEST_CHARS : DIGEST_CHARS + 1] == b" ":
                    key = bytes.fromhex(line[:DIGEST_CHARS].decode("ascii"))
                    start = DIGEST_CHARS + 1
                    if line[start:] == FORGOTTEN:
                        self._places.pop(key, None)
                    else:
                        self._places[key] = _place(segment, offset + start, len(line) - start - 1)
                offset += len(line)

    def __contains__(self, digest: str) -> bool:
        return bytes.fromhex(digest) in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, digest: str) -> dict[str, Any] | None:
        """The record under a digest, or None.

        Raises:
            SympatheiaError: the record's bytes were changed on disk.
        """
        place = self._places.get(bytes.fromhex(digest))
        if place is None:
            return None
        offset, length = place >> 32 & 0xFFFF_FFFF_FFFF, place & 0xFFFF_FFFF
        segment = _segment_of(place)
        file = self._segments[segment]
        try:
            if isinstance(file, Path):
                with file.open("rb") as opened:
                    body = os.pread(opened.fileno(), length, offset)
            else:
                body = os.pread(file, length, offset)
            record = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise SympatheiaError(
                f"The record {digest} in {self._folder} is damaged; delete its line from the "
                "segment file there and run the same command again to have it made anew."
            ) from error
        assert isinstance(record, dict)
        return record

    @property
    def own_count(self) -> int:
        """Number of records that are the folder's own, not from elsewhere."""
        return sum(_segment_of(place) >= self._from_elsewhere for place in self._places.values())

    def values(self) -> Iterator[dict[str, Any]]:
        """Every record of the folder's own, in the order of their digests.

        Raises:
            SympatheiaError: a record's bytes were changed on disk.
        """
        for key in sorted(self._places):
            if _segment_of(self._places[key]) < self._from_elsewhere:
                continue
            record = self.get(key.hex())
            assert record is not None
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
                start = self._append(digest, body + b"\n")
                self._places[key] = _place(len(self._segments) - 1, start, len(body))

    def _append(self, digest: str, rest: bytes) -> int:
        """Writes a line; gives the place at which what comes behind the digest begins."""
        if self._writer is None:
            self._writer = self._open_segment()
        line = digest.encode("ascii") + b" " + rest
        append_whole(self._writer, line, self._end)
        start = self._end + DIGEST_CHARS + 1
        self._end += len(line)
        return start

    def _open_segment(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._written = self._folder / f"{utc_name()}{SUFFIX}"
        segment = os.open(self._written, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        self._segments.append(segment if len(self._segments) < KEPT_OPEN else self._written)
        self._end = 0
        return segment

    def end_segment(self) -> Path | None:
        """Has the next record open a new segment.

        Returns:
            The segment that has ended, which never changes again; None if nothing was put since.
        """
        with self._lock:
            if self._writer is None:
                return None
            if isinstance(self._segments[-1], Path):
                os.close(self._writer)  # else it stays open for reading
            self._writer = None
            return self._written

    def close(self) -> None:
        """Closes every segment."""
        self.end_segment()
        for segment in self._segments:
            if isinstance(segment, int):
                os.close(segment)
        self._segments.clear()
        self._places.clear()


def _place(segment: int, offset: int, length: int) -> int:
    """Where a record lies, as one number: a tuple would take 120 bytes more, millions of times."""
    return segment << 80 | offset << 32 | length


def _segment_of(place: int) -> int:
    return place >> 80


def utc_name() -> str:
    """A name that no other process gives, and that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(8)}"


class Blobs:
    """A folder of files by digest, fanned out by its first two characters."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self.suffix = suffix

    def path(self, digest: str) -> Path:
        """Where the file of a digest lies, whether or not it is there."""
        return self._folder / digest[:2] / (digest + self.suffix)

    def where(self, digest: str) -> str:
        """What a person finds the file of a digest by."""
        return str(self.path(digest))

    def __contains__(self, digest: str) -> bool:
        return self.path(digest).exists()

    def read(self, digest: str) -> bytes:
        """The content of the file of a digest.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        return self.path(digest).read_bytes()

    def put(self, digest: str, data: bytes) -> None:
        """Writes a file under a temporary name, then renames it.

        Raises:
            OSError: the disk is full or fails; nothing is left behind.
        """
        write_whole(self.path(digest), data)


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that its name never shows anything but the whole content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Clips(Protocol):
    """Clips by digest, wherever they are kept."""

    def __contains__(self, digest: str) -> bool: ...

    def where(self, digest: str) -> str:
        """What a person finds the file of a digest by."""
        ...

    def read(self, digest: str) -> bytes:
        """The content of the file of a digest."""
        ...

    def put(self, digest: str, data: bytes) -> None:
        """Writes the file of a digest."""
        ...


class Exchange(Protocol):
    """What exchanges the records of a store with those of other runs."""

    def start(self, records: Iterable[Records]) -> None:
        """Shares what is put into these records from now on."""
        ...

    def stop(self, *, failing: bool) -> None:
        """Sends what is left; `failing`: the run ends with an error of its own."""
        ...


Share = Callable[[Path, Blobs], tuple[Exchange, Clips]]
"""From a store's folder and its own clips to the exchange of its records and the shared clips."""


class Store:
    """The `store/` folder of a run, to be opened by `corpus.store.opening.open_store`.

    Args:
        root: the folder.
        share: what shares it with other runs, if anything does.
    """

    def __init__(self, root: Path, share: Share | None = None) -> None:
        local = Blobs(root / "clips", CLIP_SUFFIX)
        self._shared: Exchange | None = None
        self.clips: Clips = local
        if share:
            self._shared, self.clips = share(root, local)
        self.completions = Records(root / "completions")
        self.embeddings = Records(root / "embeddings")
        self.clip_measures = Records(root / "clip_measures")
        self.transcripts = Records(root / "transcripts")
        self.prosody = Records(root / "prosody")
        self.dnsmos = Records(root / "dnsmos")
        self.speech_tokens = Records(root / "speech_tokens")

    def _records(self) -> list[Records]:
        return [part for part in vars(self).values() if isinstance(part, Records)]

    def forget_clip(self, digest: str) -> None:
        """Takes back what is on file about a clip, before another one takes its place.

        Raises:
            OSError: the disk is full or fails.
        """
        for records in (self.clip_measures, self.transcripts, self.prosody, self.dnsmos):
            records.forget(digest)

    def __enter__(self) -> "Store":
        if self._shared:
            self._shared.start(self._records())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._shared:
                self._shared.stop(failing=kind is not None)
        finally:
            for records in self._records():
                records.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of an append-only JSON log; a last line torn by a kill is left out.

    Raises:
        SympatheiaError: a line was changed on disk.
    """
    if not path.exists():
        return []
    try:
        with path.open("rb") as file:
            return [orjson.loads(line) for line in file if line.endswith(b"\n")]
    except orjson.JSONDecodeError as error:
        raise SympatheiaError(
            f"{path} is damaged ({error}). Put back a copy, or delete it: then everything in it is "
            "decided anew from the stored answers, at no cost."
        ) from error


class Log:
    """An append-only JSON log with one writer, for what must be read back in the order written."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.entries = read_log(path)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        self._end = content.rfind(b"\n") + 1
        os.ftruncate(self._file, self._end)

    def append(self, entries: list[dict[str, Any]]) -> None:
        """Appends entries in order; they are on file when this returns.

        Raises:
            OSError: the disk is full or fails; none of the entries is kept.
        """
        lines = b"".join(orjson.dumps(entry) + b"\n" for entry in entries)
        append_whole(self._file, lines, self._end)
        self._end += len(lines)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


def append_whole(file: int, data: bytes, end: int) -> None:
    """Appends `data` to an open file that ends at `end`, all of it or nothing.

    Raises:
        OSError: the disk is full or fails; the file is cut back to `end`.
    """
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(file, rest) :]
    except OSError:
        os.ftruncate(file, end)
        raise
