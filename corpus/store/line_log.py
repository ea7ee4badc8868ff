"""Logs that are read back in the order in which they were written, JSON line by JSON line."""

import io
import logging
import os
from pathlib import Path
from typing import Any

import orjson

from corpus.errors import SympatheiaError
from corpus.store.files import append_whole, make_folder, sync

log = logging.getLogger(__name__)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of an append-only JSON log, without what a kill or a power cut tore off.

    Raises:
        SympatheiaError: a line was changed on disk.
    """
    return _read(path.read_bytes(), path)[0] if path.exists() else []


def _read(content: bytes, path: Path) -> tuple[list[dict[str, Any]], int]:
    """The entries, and where the last of them ends."""
    entries, end = [], 0
    for number, line in enumerate(io.BytesIO(content), start=1):
        # Every append was synced before the next, so a torn or zeroed one has none behind it.
        if line[-1:] != b"\n" or b"\0" in line:
            break
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise damaged(path, f"line {number}: {error}") from error
        if not isinstance(entry, dict):
            raise damaged(path, f"line {number} is no JSON object")
        entries.append(entry)
        end += len(line)
    return entries, end


def damaged(path: Path, why: str) -> SympatheiaError:
    """The error of a log with a line that was not written by this project."""
    return SympatheiaError(
        f"{path} is damaged ({why}). Put back a copy, or delete it: then everything in it is "
        "decided anew from the stored answers, at no cost."
    )


class Log:
    """An append-only JSON log with one writer, for what must be read back in the order written.

    Raises:
        SympatheiaError: a line was changed on disk.
    """

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            content = os.pread(self._file, os.fstat(self._file).st_size, 0)
            self.entries, self._end = _read(content, path)
        except SympatheiaError:
            os.close(self._file)
            raise
        if self._end < len(content):
            lost = len(content) - self._end
            log.warning("The last %d bytes of %s were torn off; they are made anew.", lost, path)
            os.ftruncate(self._file, self._end)
        if new:
            sync(path.parent)

    def append(self, entries: list[dict[str, Any]]) -> None:
        """Appends entries in order; they are on the disk when this returns.

        Raises:
            OSError: the disk is full or fails; none of the entries is kept.
        """
        lines = b"".join(orjson.dumps(entry) + b"\n" for entry in entries)
        if lines:
            append_whole(self._file, lines, self._end)
            self._end += len(lines)
            os.fsync(self._file)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)
