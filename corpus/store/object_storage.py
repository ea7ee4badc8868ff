"""Folders on object storage, or anywhere else that fsspec reaches."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.implementations.local import LocalFileSystem

from corpus.errors import InvalidInput
from corpus.store.files import sync, write_whole


class Storage:
    """A folder that fsspec opens; whatever its library raises comes out as an OSError.

    Nothing is cached, so what others write is seen. Safe for several threads.

    Args:
        url: any that fsspec opens, `s3://bucket/path` for one, or the path of a folder. Keys and
            regions are taken from where its library looks for them, never from here.
        key: the recipe's key that holds the URL, for errors to name.

    Raises:
        InvalidInput: no installed library opens such an address.
    """

    def __init__(self, url: str, key: str) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise InvalidInput(f"{key}: {url} cannot be opened: {error}.") from error
        protocol = self._files.protocol
        self._s3 = "s3" in ((protocol,) if isinstance(protocol, str) else protocol)
        # s3fs asks for an object's size before it reads, unless told to read it in one piece.
        self._in_one = {"max_concurrency": 1} if self._s3 else {}

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def sizes(self, folder: str) -> dict[str, int]:
        """Every file at any depth below a folder, by its name below the folder, with its size.

        Raises:
            OSError: the storage cannot be reached, or refuses.
        """
        path = self._path(folder)
        if isinstance(self._files, LocalFileSystem):
            return _local_sizes(Path(path))
        with _its_errors():
            found = self._files.find(path, detail=True)
        return {name.removeprefix(f"{path}/"): int(info["size"]) for name, info in found.items()}

    def size(self, name: str) -> int | None:
        """The size of a file, None if there is none.

        Raises:
            OSError: the storage cannot be reached, or refuses.
        """
        try:
            with _its_errors():
                return int(self._files.size(self._path(name)))
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is none.
            OSError: the storage cannot be reached, or refuses.
        """
        with _its_errors():
            content: bytes = self._files.cat_file(self._path(name), **self._in_one)
        return content

    def write(self, name: str, data: bytes) -> None:
        """Writes a file, which appears when it is whole.

        Raises:
            OSError: the storage cannot be reached, refuses or is full.
        """
        path = self._path(name)
        with _its_errors():
            if isinstance(self._files, LocalFileSystem):
                write_whole(Path(path), data)
            else:
                self._make_parent(path)
                self._files.pipe_file(path, data)

    def send(self, file: Path, name: str) -> None:
        """Copies a file there, however big, and sees that all of it arrived.

        Raises:
            OSError: the storage cannot be reached, refuses or is full.
        """
        path = self._path(name)
        with _its_errors():
            self._make_parent(path)
            self._files.put_file(str(file), path)
            if isinstance(self._files, LocalFileSystem):
                sync(Path(path))
                sync(Path(path).parent)
        size = self.size(name)
        if size != file.stat().st_size:
            raise OSError(f"{path} has {size} bytes after it was sent, not {file.stat().st_size}")

    def remove(self, name: str) -> None:
        """Removes a file.

        Raises:
            OSError: the storage cannot be reached, or refuses.
        """
        with _its_errors():
            self._files.rm_file(self._path(name))

    def _make_parent(self, path: str) -> None:
        # S3 has no folders, and s3fs would make a bucket that is missing, a misspelt one too.
        if not self._s3:
            self._files.makedirs(str(PurePosixPath(path).parent), exist_ok=True)


def _local_sizes(folder: Path) -> dict[str, int]:
    """Like fsspec's listing, which leaves out a folder in which a file vanishes meanwhile."""

    def fail(error: OSError) -> None:
        raise error

    if not folder.exists():
        return {}
    paths = (
        Path(parent, name)
        for parent, _, names in os.walk(folder, onerror=fail)
        for name in names
        if not name.startswith(".")  # being written, to vanish for the whole file
    )
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


@contextmanager
def _its_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # every storage's library has errors of its own
        raise OSError(str(error)) from error


def reason(error: OSError) -> str:
    """What went wrong, for a sentence."""
    return (error.strerror or str(error) or type(error).__name__).rstrip(".")
