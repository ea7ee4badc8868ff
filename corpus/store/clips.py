"""Clips by digest, each with its size and its own digest on file.

So a clip that a crash left torn, empty or zeroed, or that was damaged since, counts as none and
is made again. Where they lie is `Place`'s business: in the run folder, or where runs share them.
"""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from corpus.errors import SympatheiaError
from corpus.store.append_only_records import Records
from corpus.store.files import Unsynced, remove, write_whole


class DamagedClip(SympatheiaError):
    """A clip that is gone, empty or not what was written.

    `digest` and `where` say which, `how` what is wrong with it.
    """

    def __init__(self, digest: str, where: str, how: str) -> None:
        super().__init__(f"{where} is {how}. Run the same command again to have it made anew.")
        self.digest = digest
        self.where = where
        self.how = how


class Place(Protocol):
    """A folder of files by digest, wherever it is."""

    def size(self, digest: str) -> int | None:
        """The bytes of the file of a digest; None if there is none."""
        ...

    def read(self, digest: str) -> bytes:
        """The content of the file of a digest; nothing if there is none."""
        ...

    def put(self, digest: str, data: bytes) -> None:
        """Writes the file of a digest."""
        ...

    def remove(self, digest: str) -> None:
        """Removes the file of a digest, if there is one."""
        ...

    def digests(self) -> Iterator[str]:
        """The digests of all files that are there."""
        ...

    def where(self, digest: str) -> str:
        """What errors call the file of a digest."""
        ...


class Blobs:
    """A folder of files by digest, fanned out by its first two characters.

    Args:
        folder: where.
        suffix: what the names of files end with.
        unsynced: takes note of names, for its owner to sync.
    """

    def __init__(self, folder: Path, suffix: str, unsynced: Unsynced | None = None) -> None:
        self._folder = folder
        self.suffix = suffix
        self._unsynced = unsynced

    def path(self, digest: str) -> Path:
        """Where the file of a digest lies, whether or not it is there."""
        return self._folder / digest[:2] / (digest + self.suffix)

    def size(self, digest: str) -> int | None:
        """The bytes of the file of a digest; None if there is none."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, digest: str) -> bytes:
        """The content of the file of a digest; nothing if there is none.

        Raises:
            OSError: it cannot be read.
        """
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            return b""

    def put(self, digest: str, data: bytes) -> None:
        """Writes a file under a temporary name, then renames it.

        Raises:
            OSError: the disk is full or fails; nothing is left behind.
        """
        write_whole(self.path(digest), data, self._unsynced)

    def remove(self, digest: str) -> None:
        """Removes the file of a digest, if there is one.

        Raises:
            OSError: the disk fails.
        """
        remove(self.path(digest))

    def digests(self) -> Iterator[str]:
        """The digests of all files that are there."""
        for path in self._folder.glob(f"*/[!.]*{self.suffix}"):
            yield path.name.removesuffix(self.suffix)

    def where(self, digest: str) -> str:
        """What errors call the file of a digest."""
        return str(self.path(digest))


class Clips:
    """The clips of a store.

    Args:
        place: where they lie.
        files: the records of their sizes and digests. Clips of releases up to 0.2.0 have none.
    """

    def __init__(self, place: Place, files: Records) -> None:
        self._place = place
        self._files = files

    def __contains__(self, digest: str) -> bool:
        """Whether there is a clip of the right size; what is in it is seen when it is read."""
        size = self._place.size(digest)
        facts = self._files.get(digest)
        return bool(size) and (facts is None or facts["bytes"] == size)

    def vouched_for(self, digest: str) -> bool:
        """Whether the size and the digest of a clip are on file."""
        return digest in self._files

    def read(self, digest: str) -> bytes:
        """A clip as it was written.

        Raises:
            DamagedClip: it is gone, empty, or was changed since.
            OSError, SympatheiaError: it cannot be read.
        """
        data = self._place.read(digest)
        if not data:
            raise self.damaged(digest, "gone or empty")
        facts = self._files.get(digest)
        if facts is not None and facts != _facts(data):
            raise self.damaged(digest, "damaged: it is not what was written")
        return data

    def damaged(self, digest: str, how: str) -> DamagedClip:
        """The error that names a clip, and how it is damaged."""
        return DamagedClip(digest, self.where(digest), how)

    def where(self, digest: str) -> str:
        """What errors call a clip."""
        return self._place.where(digest)

    def put(self, digest: str, data: bytes) -> None:
        """Writes a clip, in the place of another if there is one.

        Raises:
            OSError, SympatheiaError: it cannot be written.
        """
        self._place.put(digest, data)
        self.vouch_for(digest, data)

    def vouch_for(self, digest: str, data: bytes) -> None:
        """Puts on file what a clip is, which is known to be whole.

        Raises:
            OSError: the disk is full or fails.
        """
        facts = _facts(data)
        if self._files.get(digest) != facts:
            self._files.forget(digest)
            self._files.put(digest, facts)

    def remove(self, digest: str) -> None:
        """Lets go of a clip.

        Raises:
            OSError, SympatheiaError: it cannot be removed.
        """
        self._place.remove(digest)
        self._files.forget(digest)

    def digests(self) -> Iterator[str]:
        """The digests of the clips that are there, and then of those that should be."""
        yield from self._place.digests()
        for digest in self._files.own():
            if self._place.size(digest) is None:
                yield digest


def _facts(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": sha256(data).hexdigest()}
