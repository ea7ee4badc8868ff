"""Measures every clip of a dataset folder's shards, on every core, a shard at most once.

What runs in the processes that measure is kept to what measuring needs: each of them has its own
copy in memory.
"""

import ctypes
import os
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from corpus.checks.inspection import Inspection
from corpus.compute.worker_processes import begun_ahead, worker_processes
from corpus.dataset.dataset_folder import shard_rows
from corpus.errors import SympatheiaError
from corpus.sound.clip_audio import ClipMeasures, measure_finished
from schemas.slots import SUBSETS

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's numbers for these two settings (malloc.h)."""
KEPT_BYTES = 32 << 20
"""What a process that measures keeps of memory it has done with: enough for a clip of a minute."""

AHEAD = 2
"""Row groups that wait measured beside those at work: what bounds memory."""


@dataclass(frozen=True, slots=True)
class MeasuredClip:
    """One clip of a row.

    Attributes:
        row_id: the row's.
        role: whose clip of the row it is.
        words: of its text.
        text_digest: SHA-256 of its text.
        said_seconds: how long it is, as the row says.
        digest: SHA-256 of its bytes.
        measures: of the clip.
    """

    row_id: str
    role: str
    words: int
    text_digest: str
    said_seconds: float
    digest: str
    measures: ClipMeasures


def measured_clips(look: Inspection, roles: tuple[str, ...]) -> Iterator[MeasuredClip]:
    """Every clip of the shards that can be read, in order, and of each row in that of the roles.

    Raises:
        SympatheiaError: a process died, for want of memory perhaps.
    """
    count = os.cpu_count() or 1
    known: set[Path] = set()
    with worker_processes(count, _begin) as pool:

        def parts() -> Iterator[tuple[Path, Future[list[MeasuredClip]]]]:
            for path in look.dataset.parquet_files():
                if path.parent.name not in SUBSETS or not look.has_rows(path):
                    continue
                recalled = _recall(look, path)
                if recalled is not None:
                    known.add(path)
                    yield path, recalled
                    continue
                meta = look.shard(path).meta
                assert meta is not None
                for group in range(meta.num_row_groups):
                    yield path, pool.submit(_measured, path, group, roles)

        try:
            for path, of_path in groupby(begun_ahead(parts(), count + AHEAD), lambda part: part[0]):
                clips: list[MeasuredClip] = []
                for _, part in of_path:
                    yield from part.result()
                    clips += part.result()
                if path not in known:
                    _keep(look, path, clips)
        except BrokenProcessPool:
            raise SympatheiaError(
                "A process that measures clips died, perhaps for want of memory. Free some and run "
                "the same command again; the shards that were measured are remembered."
            ) from None


def _recall(look: Inspection, path: Path) -> Future[list[MeasuredClip]] | None:
    """The clips of a file, if it was measured before, as if they had just been."""
    found = look.memory.recall(f"clips {look.shard(path).digest}")
    if found is None:
        return None
    recalled: Future[list[MeasuredClip]] = Future()
    recalled.set_result(
        [MeasuredClip(**(clip | {"measures": ClipMeasures(**clip["measures"])})) for clip in found]
    )
    return recalled


def _keep(look: Inspection, path: Path, clips: list[MeasuredClip]) -> None:
    look.memory.keep(f"clips {look.shard(path).digest}", [asdict(clip) for clip in clips])


# What follows runs in the processes that measure.


def _begin() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    # A clip's arrays are some megabytes each. Given back to the system when they are done with and
    # taken anew for the next clip, they cost a sixth of the time. Only glibc can be told.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def _measured(path: Path, group: int, roles: tuple[str, ...]) -> list[MeasuredClip]:
    wanted = ("audio", "text", "seconds")
    columns = ["id", *(f"{role}_{what}" for role in roles for what in wanted)]
    known: dict[str, ClipMeasures] = {}  # the responses to one neutral query share its clip
    clips = []
    for row in shard_rows(path, columns, (group,)):
        for role in roles:
            data = (row[f"{role}_audio"] or {}).get("bytes") or b""
            text = row[f"{role}_text"] or ""
            digest = sha256(data).hexdigest()
            if digest not in known:
                known[digest] = measure_finished(data)
            clips.append(
                MeasuredClip(
                    row["id"],
                    role,
                    len(text.split()),
                    sha256(text.encode()).hexdigest(),
                    row[f"{role}_seconds"] or 0.0,
                    digest,
                    known[digest],
                )
            )
    return clips
