"""The digest store: every answer that was paid for, under the digest of the request that made it.

Before anything is asked it is looked up here, which is what makes a run resumable, repeatable and
free to repeat. The store knows requests and answers, never slots or plans, so several runs may
share one.

Records (completions, clip measures, speech tokens and so on) are lines of append-only segments
(`corpus.store.append_only_records`), clips are files that appear when whole (`corpus.store.clips`).
Both are brought to the disk in groups, a few times a second; `Store.sync` returns when all is
there, and whatever rests on them calls it first. `corpus.store.opening` opens a store, and has one
with a URL share what it holds.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from corpus.store.append_only_records import Records
from corpus.store.clips import Blobs, Clips, Place
from corpus.store.files import Unsynced
from corpus.store.segments import Shape

CLIPS = "clips"
"""The folder of the clips, of which only the names are data."""

CLIP_SUFFIX = ".flac"

SYNC_EVERY_SECONDS = 0.2
"""What a power cut costs at most, beside what was in flight; a disk takes some milliseconds."""

_ANSWER: Shape = {
    "text": str,
    "finish_reason": str,
    "prompt_tokens": object,
    "completion_tokens": object,
    "model": str,
}

SHAPES: dict[str, Shape] = {
    "completions": _ANSWER,
    "embeddings": {"float32": str},
    "clip_measures": {"sample_rate": int, "seconds": float, "finished_seconds": float},
    "clip_files": {"bytes": int, "sha256": str},
    "transcripts": {"text": str},
    "prosody": {},
    "dnsmos": {"overall": float},
    "speakers": {"float32": str},
    "naturalness": {"mos": float},
    "likeness": {"bertscore_f1": list, "rouge_l": list},
    "speech_tokens": {"tokens": list},
    "replies": {"tokens": list},
    "grades": _ANSWER,
}
"""The kinds of records, each a folder, and what every record of a kind has."""

log = logging.getLogger(__name__)


class Exchange(Protocol):
    """What exchanges the records of a store with those of other runs."""

    def start(self, records: Iterable[Records]) -> None:
        """Shares what is put into these records from now on."""
        ...

    def stop(self, *, failing: bool) -> None:
        """Sends what is left; `failing`: the run ends with an error of its own."""
        ...


Share = Callable[[Path, Blobs], tuple[Exchange, Place]]
"""From a store's folder and its own clips to the exchange of its records and the shared clips."""


class Store:
    """The `store/` folder of a run, to be opened by `corpus.store.opening.open_store`.

    Args:
        root: the folder.
        share: what shares it with other runs, if anything does.
    """

    def __init__(self, root: Path, share: Share | None = None) -> None:
        self._unsynced = Unsynced()
        self._ended = threading.Event()
        self._syncing = threading.Thread(target=self._sync_often, daemon=True)
        self._shared: Exchange | None = None
        place: Place = Blobs(root / CLIPS, CLIP_SUFFIX, self._unsynced)
        if share:
            self._shared, place = share(root, Blobs(root / CLIPS, CLIP_SUFFIX))
        kinds = {
            kind: Records(root / kind, shape, self._unsynced) for kind, shape in SHAPES.items()
        }
        self._records = list(kinds.values())
        self.completions = kinds["completions"]
        self.embeddings = kinds["embeddings"]
        self.clip_measures = kinds["clip_measures"]
        self.transcripts = kinds["transcripts"]
        self.prosody = kinds["prosody"]
        self.dnsmos = kinds["dnsmos"]
        self.speakers = kinds["speakers"]
        self.naturalness = kinds["naturalness"]
        self.likeness = kinds["likeness"]
        self.speech_tokens = kinds["speech_tokens"]
        self.replies = kinds["replies"]
        self.grades = kinds["grades"]
        self.clips = Clips(place, kinds["clip_files"])

    def forget_clip(self, digest: str) -> None:
        """Takes back what is on file about a clip, before another one takes its place.

        Raises:
            OSError: the disk is full or fails.
        """
        heard = (self.transcripts, self.prosody, self.dnsmos, self.speakers)
        for records in (self.clip_measures, *heard):
            records.forget(digest)

    def let_go_of_clip(self, digest: str) -> None:
        """Removes a clip, with what is on file about it, so that it is made again.

        Raises:
            OSError, SympatheiaError: it cannot be removed.
        """
        self.clips.remove(digest)
        self.forget_clip(digest)

    def sync(self) -> None:
        """Returns when the disk has everything that was put before.

        Raises:
            OSError: the disk fails.
        """
        self._unsynced.sync()

    def _sync_often(self) -> None:
        with suppress(OSError):  # whoever calls `sync` next is told the same
            while not self._ended.wait(SYNC_EVERY_SECONDS):
                self.sync()

    def __enter__(self) -> "Store":
        self._syncing.start()
        if self._shared:
            self._shared.start(self._records)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._syncing.join()
        try:
            if self._shared:
                self._shared.stop(failing=kind is not None)
            self.sync()
        finally:
            for records in self._records:
                records.close()
