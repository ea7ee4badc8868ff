"""Stamps: what files were made from, so that a run with nothing to do does nothing."""

from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path

import orjson

import corpus
import schemas
from corpus.store.files import remove, write_whole


class Stamp:
    """A file that says what others were made from and how they looked then.

    Args:
        path: the stamp's own file.
        root: the folder that holds the files it is about.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._root = root

    def holds(self, made_from: str) -> bool:
        """Whether the files were made from this, and each is still as it was written."""
        if not self._path.is_file():
            return False
        try:
            stamp = orjson.loads(self._path.read_bytes())
            files: dict[str, list[int]] = dict(stamp["files"])
            same = stamp["made_from"] == made_from
        except (ValueError, KeyError, TypeError):  # damaged: all is made anew
            return False
        return same and all(
            (self._root / name).is_file() and _look(self._root / name) == look
            for name, look in files.items()
        )

    def put(self, made_from: str, files: Iterable[Path]) -> None:
        """Says that files, now complete, were made from this."""
        looks = {path.relative_to(self._root).as_posix(): _look(path) for path in files}
        write_whole(self._path, orjson.dumps({"made_from": made_from, "files": looks}))

    def changed(self, files: Iterable[Path]) -> None:
        """Says that some of the files were changed, and are still made from what they were."""
        if not self._path.is_file():
            return
        stamp = orjson.loads(self._path.read_bytes())
        stamp["files"] |= {path.relative_to(self._root).as_posix(): _look(path) for path in files}
        write_whole(self._path, orjson.dumps(stamp))

    def drop(self) -> None:
        """Takes back what was said, before the files change."""
        remove(self._path)


def _look(path: Path) -> list[int]:
    """What changes when a file does, without reading it: size and time of change."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


@cache
def code_digest() -> str:
    """SHA-256 over this project's own modules: with other code, other verdicts may come."""
    digest = sha256()
    for folder in (Path(corpus.__file__ or "").parent, Path(schemas.__file__ or "").parent):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
