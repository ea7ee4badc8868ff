"""A store shared by runs on several machines, through object storage or a shared file system.

Records are written to the run folder as ever, so a kill loses none. Beside that, every few seconds
each kind's segment is ended and copied to `records/<kind>/` of the shared place, under its own
name, where it never changes again; other runs fetch it when they open. Clips, which are big, are
over there only, one object each.
"""

import logging
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path, PurePosixPath

from corpus.errors import SympatheiaError
from corpus.store.append_only_records import ELSEWHERE, Records
from corpus.store.clips import Blobs
from corpus.store.files import write_whole
from corpus.store.object_storage import Storage, reason
from corpus.store.segments import SUFFIX, name_behind

SHARE_EVERY_SECONDS = 30.0
"""What a run may know and others cannot yet; each turn costs at most one upload a kind."""

FETCHES = 16
"""Segments that are fetched side by side."""

KEY = "storage.url"
"""The recipe's key that names the shared place, for errors to name."""

log = logging.getLogger(__name__)


def share(root: Path, local: Blobs, url: str) -> tuple["SharedRecords", "SharedBlobs"]:
    """The records and the clips of a run folder's store, shared at a URL.

    Raises:
        InvalidInput: no installed library opens such an address.
        SympatheiaError: the place cannot be reached, or refuses.
    """
    storage = Storage(url, KEY)
    return SharedRecords(root, storage, url), SharedBlobs(storage, "clips", local, url)


class SharedRecords:
    """The records of one run folder, exchanged with those of other runs.

    At opening, segments of this folder that are not over there yet are sent, and those of others
    that are not here yet are fetched.

    Args:
        root: the store of the run folder.
        storage: the shared place.
        url: its address, for errors to name.

    Raises:
        SympatheiaError: the storage cannot be reached, or refuses.
    """

    def __init__(self, root: Path, storage: Storage, url: str) -> None:
        self._root = root
        self._storage = storage
        self._url = url
        self._to_send: list[Path] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            storage.write("opened", b"")  # if writing is denied, that shows now and not after hours
            self._exchange()
        except OSError as error:
            raise SympatheiaError(
                f"{KEY}: {url} cannot be used: {reason(error)}. See that the place exists and that "
                "this machine may read and write there, then run the same command again."
            ) from error

    def _exchange(self) -> None:
        there = self._storage.sizes("records")
        own = {f"{path.parent.name}/{path.name}": path for path in self._root.glob(f"*/*{SUFFIX}")}
        for name, path in own.items():
            if there.get(name, 0) < path.stat().st_size:
                self._send(path, there.get(name, 0))
        fetched = list(self._root.glob(f"*/{ELSEWHERE}/*/*{SUFFIX}"))
        here = {(path.parents[2].name, path.name, path.stat().st_size) for path in fetched}
        wanted = {}
        for name, size in there.items():
            kind, _, segment = name.partition("/")
            # One of our own may be longer over there: a lost machine kept less than it had sent.
            if (
                (name not in own or own[name].stat().st_size < size)
                and (kind, segment, size) not in here
                and segment.endswith(SUFFIX)  # a file system shows what is being written too
            ):
                wanted[name] = size
        # What is fetched together lies together, later arrivals behind: what a run has seen first,
        # and has decided on, stays what it sees.
        arrived = name_behind(path.parent.name for path in fetched)
        with ThreadPoolExecutor(FETCHES) as pool:
            for _ in pool.map(self._fetch, wanted, wanted.values(), repeat(arrived)):
                pass

    def _fetch(self, name: str, size: int, arrived: str) -> None:
        data = self._storage.read(f"records/{name}")
        if len(data) != size:
            raise OSError(f"records/{name} came with {len(data)} bytes, not {size}")
        kind, _, segment = name.partition("/")
        write_whole(self._root / kind / ELSEWHERE / arrived / segment, data)

    def _send(self, path: Path, size_there: int = 0) -> None:
        data = path.read_bytes()
        data = data[: data.rfind(b"\n") + 1]  # without the line that a kill has torn
        if len(data) > size_there:
            self._storage.write(f"records/{path.parent.name}/{path.name}", data)

    def start(self, records: Iterable[Records]) -> None:
        """Shares what is put into these records from now on, in the background."""
        self._records = list(records)
        self._thread = threading.Thread(target=self._share_often, daemon=True)
        self._thread.start()

    def _share_often(self) -> None:
        while not self._stop.wait(SHARE_EVERY_SECONDS):
            try:
                self._share()
            except OSError as error:
                log.warning(
                    "%s; this is tried again in %g s.", self._not_shared(error), SHARE_EVERY_SECONDS
                )

    def _share(self) -> None:
        for records in self._records:
            ended = records.end_segment()
            if ended is not None:
                self._to_send.append(ended)
        while self._to_send:
            self._send(self._to_send[0])
            del self._to_send[0]

    def _not_shared(self, error: OSError) -> str:
        return (
            f"{KEY}: new records could not be sent to {self._url} ({reason(error)}); all of them "
            f"are kept in {self._root}"
        )

    def stop(self, *, failing: bool) -> None:
        """Sends what is left.

        Args:
            failing: the run ends with an error of its own, so one of the storage is only logged.

        Raises:
            SympatheiaError: the storage cannot be reached, or refuses.
        """
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        try:
            self._share()
        except OSError as error:
            sentence = f"{self._not_shared(error)}. The same command, run again, sends them."
            if not failing:
                raise SympatheiaError(sentence) from error
            log.warning("%s", sentence)


class SharedBlobs:
    """Files by digest on shared storage; each appears whole. Safe for several threads.

    Which there are is listed once, at the first question, and not asked for each. One that only
    the run folder has, from when its store was not shared, is sent when it is asked for.
    """

    def __init__(self, storage: Storage, folder: str, local: Blobs, url: str) -> None:
        self._storage = storage
        self._local = local
        self._folder = folder
        self._suffix = local.suffix
        self._url = url
        self._sizes: dict[str, int] | None = None
        self._lock = threading.Lock()

    def _name(self, digest: str) -> str:
        return f"{digest[:2]}/{digest}{self._suffix}"

    def where(self, digest: str) -> str:
        """What a person finds the file of a digest by."""
        return f"{KEY}: {self._folder}/{self._name(digest)} of {self._url}"

    def _listed(self) -> dict[str, int]:
        with self._lock:
            if self._sizes is None:
                try:
                    sizes = self._storage.sizes(self._folder)
                except OSError as error:
                    raise SympatheiaError(
                        f"{KEY}: {self._url} cannot be listed: {reason(error)}. Run the same "
                        "command again when it can; nothing that was made is lost."
                    ) from error
                # An empty one is none: it is made again and takes the other's place.
                self._sizes = {
                    PurePosixPath(name).stem: size
                    for name, size in sizes.items()
                    if size and name.endswith(self._suffix)
                }
            return self._sizes

    def size(self, digest: str) -> int | None:
        """The bytes of the file of a digest; None if there is none.

        Raises:
            SympatheiaError: the storage cannot be reached, or refuses.
        """
        if digest not in self._listed() and self._local.size(digest):
            self.put(digest, self._local.read(digest))
        return self._listed().get(digest)

    def read(self, digest: str) -> bytes:
        """The content of the file of a digest; nothing if there is none.

        Raises:
            SympatheiaError: it cannot be read.
        """
        try:
            return self._storage.read(f"{self._folder}/{self._name(digest)}")
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise SympatheiaError(
                f"{self.where(digest)} cannot be read: {reason(error)}. Run the same "
                "command again when it can; nothing that was made is lost."
            ) from error

    def put(self, digest: str, data: bytes) -> None:
        """Writes the file of a digest.

        Raises:
            SympatheiaError: the storage cannot be reached, refuses or is full.
        """
        try:
            self._storage.write(f"{self._folder}/{self._name(digest)}", data)
        except OSError as error:
            raise SympatheiaError(
                f"{self.where(digest)} cannot be written: {reason(error)}. Run the same "
                "command again when it can; everything else that was made is kept."
            ) from error
        listed = self._listed()
        with self._lock:
            listed[digest] = len(data)

    def remove(self, digest: str) -> None:
        """Removes the file of a digest, if there is one, from the run folder too.

        Raises:
            SympatheiaError: the storage cannot be reached, or refuses.
        """
        self._local.remove(digest)
        try:
            self._storage.remove(f"{self._folder}/{self._name(digest)}")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise SympatheiaError(
                f"{self.where(digest)} is damaged and cannot be removed: {reason(error)}. Remove "
                "it there, then run the same command again to have it made anew."
            ) from error
        listed = self._listed()
        with self._lock:
            listed.pop(digest, None)

    def digests(self) -> Iterator[str]:
        """The digests of all files that are there."""
        yield from list(self._listed())
        yield from (name for name in self._local.digests() if name not in self._listed())
