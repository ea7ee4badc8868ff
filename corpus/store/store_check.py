"""Reads a whole store, names what is damaged, and lets go of it.

Whoever works with a store notices what is damaged when it is read; this reads all of it, so that
one knows before a run, or after an accident, what will be asked for and made again.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from corpus.store.clips import DamagedClip
from corpus.store.digest_store import CLIPS, SHAPES, Store
from corpus.store.segments import SUFFIX, drop_damaged, read_lines

AT_ONCE = 16
"""Clips that are read side by side, which hides the way to object storage."""

IsClip = Callable[[bytes], bool]
"""Whether bytes are a whole clip."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in a store that is not what was put there.

    Attributes:
        kind: the folder of the store.
        file: the segment, or the clip.
        digest: of a clip; None for a line of a segment, whose digest may be what is damaged.
        problem: what is wrong, in a few words.
    """

    kind: str
    file: str
    digest: str | None
    problem: str


@dataclass
class Found:
    """What a check has read so far, and the damage it came upon."""

    records: int
    clips: int
    damaged: list[Damage]


def check_records(root: Path, found: Found, *, at_work: bool) -> None:
    """Reads every record of a store.

    Args:
        root: the store's folder; it is not opened.
        found: takes what is read.
        at_work: whether a build is, so that the last line of a segment may have no end yet.

    Raises:
        OSError: a file cannot be read.
    """
    for kind, path in _segments(root):
        for line in read_lines(path, SHAPES[kind]):
            if line.key is not None:
                found.records += 1
            elif not (line.torn and at_work):
                how = "torn off" if line.torn else "damaged"
                problem = f"the line at byte {line.offset} is {how}"
                found.damaged.append(Damage(kind, str(path), None, problem))


def _segments(root: Path) -> Iterator[tuple[str, Path]]:
    for kind in SHAPES:
        for path in sorted((root / kind).rglob(f"[!.]*{SUFFIX}")):
            yield kind, path


def let_go_of_records(root: Path, found: Found) -> None:
    """Writes the segments with damaged lines anew, without them. Nobody may have the store open.

    Raises:
        OSError: the disk is full or fails.
    """
    for kind, path in {(damage.kind, damage.file) for damage in found.damaged}:
        if kind in SHAPES:
            drop_damaged(Path(path), SHAPES[kind])


def check_clips(store: Store, found: Found, is_clip: IsClip) -> None:
    """Reads every clip of a store.

    Args:
        store: it.
        found: takes what is read.
        is_clip: tells of a clip whose size and digest are not on file whether it is whole.

    Raises:
        OSError, SympatheiaError: one cannot be read.
    """

    def read(digest: str) -> Damage | None:
        clips = store.clips
        try:
            data = clips.read(digest)
            if not clips.vouched_for(digest) and not is_clip(data):
                raise clips.damaged(digest, "damaged")
        except DamagedClip as damaged:
            return Damage(CLIPS, damaged.where, digest, damaged.how)
        return None

    digests = iter(store.clips.digests())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while some := list(islice(digests, AT_ONCE * AT_ONCE)):
            read_now = list(pool.map(read, some))
            found.damaged += [damage for damage in read_now if damage]
            found.clips += read_now.count(None)


def let_go_of_clips(store: Store, damaged: Iterable[Damage]) -> None:
    """Removes the damaged clips of a store, with what is on file about them.

    Raises:
        OSError, SympatheiaError: one cannot be removed.
    """
    for damage in damaged:
        if damage.digest is not None:
            store.let_go_of_clip(damage.digest)
