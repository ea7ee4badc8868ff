"""A check at work, and what is remembered of checks before it.

Nothing that a run or a dataset says of itself is taken on trust, but what was found out is kept: in
the user's cache, under the SHA-256 of the very bytes that were looked at and the digest of the code
that looked. So a check that was stopped goes on behind the last whole shard, and one after a change
looks at what has changed.
"""

import logging
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from corpus.checks.gates import Gates
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.run.cache_folder import cache_folder
from corpus.run.progress import Progress
from corpus.run.up_to_date import code_digest
from corpus.store.files import write_whole
from schemas.slots import SUBSETS

FILES, TEXTS, CLIPS, QUERIES = "files", "texts", "clips", "near-duplicates"
STAGES = (FILES, TEXTS, CLIPS, QUERIES)
"""What progress is told of, in order: files whose digest is taken, pairs whose texts are judged,
clips that are measured, and queries that are embedded."""

log = logging.getLogger(__name__)


class Memory:
    """What checks found out, by the digest of what they looked at.

    Args:
        folder: where it is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "checks"

    def recall(self, digest: str) -> Any | None:  # noqa: ANN401 (whatever was kept)
        """What was found, by this code, in what has the digest; None if that is not known."""
        path = self._path(digest)
        try:
            return orjson.loads(path.read_bytes()) if path.is_file() else None
        except orjson.JSONDecodeError:  # damaged, so it is found out anew
            return None

    def keep(self, digest: str, found: Any) -> None:  # noqa: ANN401 (any plain data)
        """Keeps what was found. Where nothing can be written, the next check finds it anew."""
        try:
            write_whole(self._path(digest), orjson.dumps(found))
        except OSError as error:
            log.warning("what was checked is not remembered: %s: %s", self._folder, error.strerror)

    def _path(self, digest: str) -> Path:
        key = sha256(f"{code_digest()} {digest}".encode()).hexdigest()
        return self._folder / key[:2] / f"{key}.json"


@dataclass(frozen=True, slots=True)
class Inspection:
    """A check at work.

    Attributes:
        dataset: what is looked at.
        gates: what it is held to.
        progress: is told of everything that is looked at.
        memory: what is known from before.
        digests: the SHA-256 of files as they were found now, by their names.
    """

    dataset: DatasetFolder
    gates: Gates = field(default_factory=Gates)
    progress: Progress = field(default_factory=lambda: Progress(None))
    memory: Memory = field(default_factory=lambda: Memory(cache_folder()))
    digests: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slots = self.dataset.slots.values()
        pairs: dict[str, int] = {
            part: sum(slot.query.subset == part for slot in slots) for part in SUBSETS
        }
        totals: dict[str, dict[str, int]] = {
            FILES: {"": len(self.dataset.manifest.files)},
            TEXTS: pairs,
            QUERIES: {"": len({slot.query.id for slot in slots})},
            CLIPS: {part: 2 * count for part, count in pairs.items()},
        }
        for stage in STAGES:
            self.progress.begin(stage, totals[stage])

    def digest_of(self, path: Path) -> str | None:
        """The SHA-256 of a file, if it was taken."""
        return self.digests.get(self.dataset.name(path))
