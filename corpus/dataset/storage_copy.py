"""Copies a finished dataset folder to object storage, or to any other place fsspec reaches."""

from pathlib import Path

import orjson

from corpus.dataset.manifest import NAME, read_manifest
from corpus.errors import SympatheiaError
from corpus.store.object_storage import Storage, reason


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
