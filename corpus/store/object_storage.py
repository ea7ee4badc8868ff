"""Folders on object storage, or anywhere else that fsspec reaches; a dataset is copied to one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec
import orjson
from fsspec.implementations.local import LocalFileSystem

from corpus.dataset.manifest import NAME, read_manifest
from corpus.errors import InvalidInput, SympatheiaError
from corpus.store.digest_store import write_whole


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


def copy_out(folder: Path, url: str) -> int:
    """Makes a place hold exactly the files of a dataset folder.

    Files that the manifest over there already lists alike, and that have their size, are not sent
    again. The manifest goes last, so what it lists is there; a copy that was cut short is
    completed by the next call.

    Args:
        folder: the dataset folder.
        url: the place, as `Storage` takes it.

    Returns:
        How many files were sent.

    Raises:
        InvalidInput: no installed library opens such an address.
        SympatheiaError: the storage refused something or could not be reached.
    """
    storage = Storage(url, "shards.target")
    manifest = read_manifest(folder)
    listed = {name: facts.model_dump() for name, facts in manifest.files.items()}
    try:
        there = _manifest_there(storage)
        sent = 0
        for name, facts in manifest.files.items():
            if there.get(name) == listed[name] and storage.size(name) == facts.bytes:
                continue
            storage.send(folder / name, name)
            sent += 1
        for name in there.keys() - listed.keys():
            if storage.size(name) is not None:
                storage.remove(name)
        if sent or there != listed:
            storage.send(folder / NAME, NAME)
            sent += 1
    except OSError as error:
        raise SympatheiaError(
            f"Copying {folder} to {url} failed: {reason(error)}. The folder itself is whole; run "
            "the same command again to complete the copy."
        ) from error
    return sent


def _manifest_there(storage: Storage) -> dict[str, object]:
    try:
        files: dict[str, object] = orjson.loads(storage.read(NAME))["files"]
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        return {}  # none yet, or none of ours: everything is sent
    return files
