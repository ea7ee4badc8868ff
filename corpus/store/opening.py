"""Opens a store: the run folder's own, shared with other runs if there is a URL."""

from functools import partial
from pathlib import Path

from corpus.store.digest_store import Store


def open_store(root: Path, url: str = "") -> Store:
    """The store in a folder; as a context manager it is closed, and what is left is shared.

    Args:
        root: the folder, `store/` of a run.
        url: where it is shared: any URL or folder that fsspec opens.

    Raises:
        InvalidInput: no installed library opens such an address.
        SympatheiaError: the place cannot be reached, or refuses.
    """
    if not url:
        return Store(root)
    from corpus.store.shared_store import share  # brings the libraries of object storage

    return Store(root, partial(share, url=url))
