"""Files that outlive a power cut: every write of what must last goes through here.

A file appears under its name only when it is whole: its bytes are on the disk before it takes the
name, and the folder that holds the name after. What is appended is written at once, so that a
kill costs nothing, and brought to the disk in groups, so that it costs little.
"""

import errno
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CANNOT = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""What file systems say that cannot sync a folder, some network ones: their servers see to it."""


class Unsynced:
    """What is written and might not outlive a power cut yet. Safe for several threads."""

    def __init__(self) -> None:
        self._files: set[int] = set()
        self._folders: set[Path] = set()
        self._failed: OSError | None = None
        self._noting = threading.Lock()
        self._syncing = threading.Lock()

    def add_file(self, file: int) -> None:
        """Notes that an open file was written to; it stays open until all is synced."""
        with self._noting:
            self._files.add(file)

    def add_folder(self, folder: Path) -> None:
        """Notes that a name in a folder has changed."""
        with self._noting:
            self._folders.add(folder)

    def sync(self) -> None:
        """Returns when the disk has everything that was noted before.

        Who comes while another's turn runs waits for it, and often finds its own done with it.

        Raises:
            OSError: the disk failed, now or earlier; a system says so once only, and what it has
                lost cannot be known, so nothing is taken for synced from then on.
        """
        with self._syncing:
            if self._failed:
                raise self._failed
            with self._noting:
                files, self._files = self._files, set()
                folders, self._folders = self._folders, set()
            try:
                for file in files:
                    os.fsync(file)
                for folder in folders:
                    sync(folder)
            except OSError as error:
                self._failed = error
                raise


def sync(path: Path) -> None:
    """Returns when the disk has the content of a file, or the names of a folder.

    Raises:
        OSError: it is not there, or the disk fails.
    """
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _CANNOT or not path.is_dir():
            raise
    finally:
        os.close(opened)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it that are missing; their names are on the disk then.

    Raises:
        OSError: the disk is full or fails, or a file has the name.
    """
    missing = []
    above = folder
    while not above.is_dir():
        missing.append(above)
        above = above.parent
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync(made.parent)


def remove(path: Path) -> None:
    """Removes a file, if it is there, for good.

    Raises:
        OSError: the disk fails.
    """
    if path.exists():
        path.unlink()
        sync(path.parent)


@contextmanager
def whole_file(path: Path, mark: str = "", names: Unsynced | None = None) -> Iterator[Path]:
    """Gives a file to write, which takes the name when the block ends well, and is gone if not.

    Args:
        path: the name.
        mark: makes the name of the file that is written differ from that of another writer.
        names: takes note of the folder, which is synced later; it is synced here if None.

    Raises:
        OSError: the disk is full or fails; what stood under the name is untouched.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}{mark}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if names is None:
        sync(path.parent)
    else:
        names.add_folder(path.parent)


def write_whole(path: Path, data: bytes, names: Unsynced | None = None) -> None:
    """Writes a file so that its name never shows anything but the whole content.

    Raises:
        OSError: the disk is full or fails; what stood under the name is untouched.
    """
    with whole_file(path, f".{secrets.token_hex(4)}", names) as temporary:
        temporary.write_bytes(data)


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


def sync_tree(folder: Path) -> None:
    """Returns when the disk has a folder with everything in it, at any depth.

    Raises:
        OSError: the disk fails.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def take_name(unfinished: Path, folder: Path) -> None:
    """Gives a folder that is complete its name; the disk has both when this returns.

    Raises:
        OSError: the disk fails, or something has the name.
    """
    sync_tree(unfinished)
    unfinished.rename(folder)
    sync(folder.parent)
