"""Opens a store: the run folder's own, shared with other runs if there is a URL."""

from functools import partial
from pathlib import Path

from corpus.store.clips import Blobs, Place
from corpus.store.digest_store import CLIP_SUFFIX, CLIPS, Store


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


def place_of_clips(root: Path, url: str = "") -> Place:
    """Where the clips of a store lie, for who only listens to them.

    Args:
        root: as of `open_store`.
        url: likewise.

    Raises:
        InvalidInput: no installed library opens such an address.
        SympatheiaError: the place cannot be reached, or refuses.
    """
    own = Blobs(root / CLIPS, CLIP_SUFFIX)
    if not url:
        return own
    from corpus.store.shared_store import share

    return share(root, own, url=url)[1]
