"""Segments: the append-only files that records lie in, and how a damaged line is told.

A line is `<digest> <json> <checksum>`, the checksum over all before it. Releases up to 0.2.0 wrote
`<digest> <json>`; of theirs, one is whole if its JSON is and has what every record of its kind
has. A file system that lost its power leaves a segment cut short, or zeros in it; both are no line.
"""

import re
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from corpus.store.files import remove, whole_file

DIGEST_CHARS = 64
CHECKSUM_CHARS = 8

FORGOTTEN = b"{}"
"""What stands in a line instead of a record, when the one before it no longer holds."""

SUFFIX = ".jsonl"
"""What names of segment files end with."""

Shape = Mapping[str, type]
"""What every record of a kind has, and of which type: how one without a checksum is known."""

_NUMBERED = re.compile(r"s(\d{10})-")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a segment.

    Attributes:
        offset: where it begins in the file, bytes.
        length: bytes, with its end.
        key: the digest; None if the line is damaged.
        forgets: whether it takes back what was put before under the digest.
        torn: whether it is the last of its file and has no end.
    """

    offset: int
    length: int
    key: bytes | None
    forgets: bool = False
    torn: bool = False


def line_of(digest: str, body: bytes) -> bytes:
    """The line of a record, or of `FORGOTTEN`."""
    line = digest.encode("ascii") + b" " + body
    return line + b" " + _checksum(line) + b"\n"


def _checksum(data: bytes) -> bytes:
    return b"%0*x" % (CHECKSUM_CHARS, zlib.crc32(data))


def body_of(line: bytes) -> tuple[bytes, bytes, bool] | None:
    """The key and the body of a line, and whether a checksum vouches for it; None if damaged."""
    last = -CHECKSUM_CHARS - 2
    vouched = line[last : last + 1] == b" " and line[last + 1 : -1] == _checksum(line[:last])
    body = line[DIGEST_CHARS + 1 : last if vouched else -1]
    if line[DIGEST_CHARS : DIGEST_CHARS + 1] != b" " or line[-1:] != b"\n" or body[-1:] != b"}":
        return None
    try:
        key = bytes.fromhex(line[:DIGEST_CHARS].decode("ascii"))
    except ValueError:
        return None
    return (key, body, vouched) if len(key) == DIGEST_CHARS // 2 else None


def record_of(line: bytes, shape: Shape) -> dict[str, Any] | None:
    """The record of a line; None if it is damaged."""
    found = body_of(line)
    if found is None:
        return None
    _, body, vouched = found
    return _record(body, {} if vouched else shape)


def _record(body: bytes, shape: Shape) -> dict[str, Any] | None:
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    fits = isinstance(record, dict) and all(
        name in record and isinstance(record[name], kind) for name, kind in shape.items()
    )
    return record if fits else None


def read_lines(path: Path, shape: Shape) -> Iterator[Line]:
    """The lines of a segment, in order, the damaged ones among them.

    Raises:
        OSError: the file cannot be read.
    """
    offset = 0
    with path.open("rb") as file:
        for line in file:
            found = body_of(line)
            if found is None:
                yield Line(offset, len(line), None, torn=line[-1:] != b"\n")
            else:
                key, body, vouched = found
                forgets = body == FORGOTTEN
                whole = vouched or forgets or _record(body, shape) is not None
                yield Line(offset, len(line), key if whole else None, forgets)
            offset += len(line)


def drop_damaged(path: Path, shape: Shape) -> None:
    """Writes a segment anew without its damaged lines; one without any other is removed.

    Raises:
        OSError: the disk is full or fails; the segment is as it was.
    """
    kept = [line for line in read_lines(path, shape) if line.key is not None]
    if not kept:
        remove(path)
        return
    with whole_file(path) as temporary, path.open("rb") as old, temporary.open("wb") as new:
        for line in kept:
            old.seek(line.offset)
            new.write(old.read(line.length))


def utc_name() -> str:
    """A name that no other process gives."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(8)}"


def name_behind(names: Iterable[str]) -> str:
    """A name that sorts behind all of these, whatever the clock says, and that nobody else gives.

    It begins with a number, the one after theirs. Names of releases up to 0.2.0 begin with a time,
    or are hexadecimal, and sort before all of these.
    """
    numbers = (int(found[1]) for name in names if (found := _NUMBERED.match(name)))
    return f"s{max(numbers, default=0) + 1:010d}-{utc_name()}"
