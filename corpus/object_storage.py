"""Copies a dataset folder to object storage, or to anywhere else that fsspec reaches."""

from pathlib import Path

import fsspec
import orjson

from corpus.errors import InvalidInput, SympatheiaError
from corpus.manifest import NAME, read_manifest


def copy_out(folder: Path, url: str) -> int:
    """Makes a place hold exactly the files of a dataset folder.

    Files that the manifest over there already lists alike, and that have their size, are not sent
    again. The manifest goes last, so what it lists is there; a copy that was cut short is
    completed by the next call.

    Args:
        folder: the dataset folder.
        url: any that fsspec opens, `s3://bucket/path` for one. Keys and regions are taken from
            where its library looks for them, never from here.

    Returns:
        How many files were sent.

    Raises:
        InvalidInput: no installed library opens such an address.
        SympatheiaError: the storage refused something or could not be reached.
    """
    try:
        storage, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InvalidInput(f"shards.target: {url} cannot be opened: {error}.") from error
    manifest = read_manifest(folder)
    try:
        there = _manifest_there(storage, f"{root}/{NAME}")
        sent = 0
        for name, facts in manifest.files.items():
            path = f"{root}/{name}"
            if there.get(name) == facts.model_dump() and _size(storage, path) == facts.bytes:
                continue
            _send(storage, folder / name, path)
            sent += 1
        for name in there.keys() - manifest.files.keys():
            if _size(storage, f"{root}/{name}") is not None:
                storage.rm_file(f"{root}/{name}")
        if sent or there != {name: facts.model_dump() for name, facts in manifest.files.items()}:
            _send(storage, folder / NAME, f"{root}/{NAME}")
            sent += 1
    except OSError as error:
        raise SympatheiaError(
            f"Copying {folder} to {url} failed: {error.strerror or error}. The folder itself is "
            "whole; run the same command again to complete the copy."
        ) from error
    return sent


def _manifest_there(storage: fsspec.AbstractFileSystem, path: str) -> dict[str, object]:
    try:
        files: dict[str, object] = orjson.loads(storage.cat_file(path))["files"]
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        return {}  # none yet, or none of ours: everything is sent
    return files


def _size(storage: fsspec.AbstractFileSystem, path: str) -> int | None:
    storage.invalidate_cache(path)
    try:
        return int(storage.size(path))
    except FileNotFoundError:
        return None


def _send(storage: fsspec.AbstractFileSystem, file: Path, path: str) -> None:
    storage.makedirs(path.rpartition("/")[0], exist_ok=True)
    storage.put_file(str(file), path)
    size = _size(storage, path)
    if size != file.stat().st_size:
        raise OSError(f"{path} has {size} bytes after it was sent, not {file.stat().st_size}")
