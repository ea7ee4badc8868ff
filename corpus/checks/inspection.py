"""A check at work, and what is remembered of checks before it.

Nothing that a run or a dataset says of itself is taken on trust, but what was found out is kept: in
the user's cache, under the SHA-256 of the very bytes that were looked at and the digest of the code
that looked. So a check that was stopped goes on behind the last whole shard, and one after a change
looks at what has changed.
"""

import json
import logging
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.checks.gates import Gates
from corpus.dataset.dataset_folder import (
    CLIPS_AT_ONCE,
    UNREADABLE,
    DatasetFolder,
    batches,
    opened,
)
from corpus.git_lfs import POINTER, is_pointer
from corpus.run.cache_folder import cache_folder
from corpus.run.progress import Progress
from corpus.run.up_to_date import code_digest
from corpus.store.files import write_whole

CLIPS, TEXTS, QUERIES = "clips", "texts", "near-duplicates"
STAGES = (CLIPS, TEXTS, QUERIES)
"""What progress is told of, in order: clips that are measured, pairs whose texts are judged, and
queries that are embedded."""

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
            return json.loads(path.read_bytes()) if path.is_file() else None
        except ValueError:  # damaged, so it is found out anew
            return None

    def keep(self, digest: str, found: Any) -> None:  # noqa: ANN401 (any plain data)
        """Keeps what was found. Where nothing can be written, the next check finds it anew."""
        try:
            # By the standard library, which unlike orjson keeps a number that is none (NaN).
            write_whole(self._path(digest), json.dumps(found).encode())
        except OSError as error:
            log.warning("what was checked is not remembered: %s: %s", self._folder, error.strerror)

    def _path(self, digest: str) -> Path:
        key = sha256(f"{code_digest()} {digest}".encode()).hexdigest()
        return self._folder / key[:2] / f"{key}.json"


@dataclass(frozen=True, slots=True)
class ReadShard:
    """A Parquet file that was read from its first byte to its last.

    Attributes:
        digest: SHA-256 of its bytes.
        problem: why it cannot be read, if it cannot: then it has neither of the others.
        meta: what it says of its rows.
        schema: of its columns.
    """

    digest: str
    problem: str | None = None
    meta: pq.FileMetaData | None = None
    schema: pa.Schema | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """A check at work.

    Attributes:
        dataset: what is looked at.
        gates: what it is held to.
        progress: is told of everything that is looked at.
        memory: what is known from before.
    """

    dataset: DatasetFolder
    gates: Gates = field(default_factory=Gates)
    progress: Progress = field(default_factory=lambda: Progress(None))
    memory: Memory = field(default_factory=lambda: Memory(cache_folder()))
    _shards: dict[Path, ReadShard] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slots = self.dataset.slots.values()
        pairs: dict[str, int] = {
            part: sum(slot.query.subset == part for slot in slots)
            for part in self.dataset.blueprint.plan.subsets
        }
        totals: dict[str, dict[str, int]] = {
            CLIPS: {part: 2 * count for part, count in pairs.items()},
            TEXTS: pairs,
            QUERIES: {"all": len({slot.query.id for slot in slots if slot.query.opens})},
        }
        for stage in STAGES:
            self.progress.begin(stage, totals[stage])

    def shard(self, path: Path) -> ReadShard:
        """A Parquet file of the dataset, read whole when it is first asked for.

        A file of hundreds of megabytes comes slowly from a disk. So whoever wants all of it, as
        those do that measure clips, comes right behind, while the system has it in memory.
        """
        if path not in self._shards:
            self._shards[path] = _read_whole(path, self.memory)
        return self._shards[path]

    def has_rows(self, path: Path) -> bool:
        """Whether a Parquet file can be read and has the format's columns."""
        schema = self.shard(path).schema
        return schema is not None and not self.dataset.wrong_columns(path, schema)


def _read_whole(path: Path, memory: Memory) -> ReadShard:
    with path.open("rb") as content:
        digest = file_digest(content, "sha256").hexdigest()
    if is_pointer(path):
        return ReadShard(digest, POINTER)
    known = memory.recall(f"pages {digest}")
    try:
        with opened(path) as file:
            if not known:
                for batch in batches(file, CLIPS_AT_ONCE):  # any byte may be flipped
                    batch.validate(full=True)
            meta, schema = file.metadata, file.schema_arrow
    except UNREADABLE as error:
        return ReadShard(digest, f"{str(error).splitlines()[0]:.100}")
    if not known:
        memory.keep(f"pages {digest}", True)
    return ReadShard(digest, None, meta, schema)
