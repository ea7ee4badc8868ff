"""The speech tokens of a corpus's clips, made once per clip and kept in the store."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from math import ceil
from pathlib import Path
from threading import Event, Lock

import numpy as np
from numpy.typing import NDArray

from corpus.adapter.prompt_template import Spoken
from corpus.adapter.speech_tokens import BATCH, SEGMENT_SECONDS, SpeechTokenizer, encode_in_worker
from corpus.compute.local_or_dask import Workers
from corpus.dataset.dataset_folder import (
    REMEDY,
    DatasetFolder,
    row_groups,
    shard_rows,
    split_of,
    whole_row,
)
from corpus.errors import SympatheiaError
from corpus.run.progress import Progress
from corpus.run.stage_tables import Row
from corpus.sound.sound_files import Undecodable, decode
from corpus.speech.clip_requests import QUERY, RESPONSE
from corpus.store.append_only_records import Records
from schemas.audio import SAMPLE_RATE
from schemas.slots import SPLITS, SUBSETS, Split, Subset

STAGE = "speech tokens"

_ROLES = (QUERY, RESPONSE)


def token_key(checkpoint: str, clip: bytes) -> str:
    """What the tokens of a clip are stored under, given the digest of the speech tokenizer."""
    return sha256(f"{checkpoint} {sha256(clip).hexdigest()}".encode()).hexdigest()


def rows_of(
    dataset: DatasetFolder, subset: Subset, split: Split, *columns: str
) -> Iterator[list[Row]]:
    """The rows of a subset and split in slot order, a row group at a time; `id` is always there.

    Raises:
        SympatheiaError: a file is missing or damaged, or a row lacks a value.
    """
    for path in dataset.readable:
        if path.parent.name == subset and split_of(path) == split:
            for group in row_groups(path):
                rows = shard_rows(path, ("id", *columns), (group,))
                yield [whole_row(path, row) for row in rows]


@dataclass(frozen=True, slots=True)
class _Clip:
    """A clip of a row; `key` is what its tokens are stored under."""

    name: str
    subset: Subset
    key: str
    data: bytes
    seconds: float

    @property
    def segments(self) -> int:
        return max(1, ceil(self.seconds / SEGMENT_SECONDS))

    def samples(self) -> NDArray[np.float32]:
        try:
            samples, rate = decode(self.data)
        except Undecodable as error:
            raise SympatheiaError(f"{self.name}: {error} {REMEDY}") from error
        if rate != SAMPLE_RATE or not len(samples):
            raise SympatheiaError(
                f"{self.name} has {len(samples)} samples at {rate} Hz; a corpus holds speech at "
                f"{SAMPLE_RATE} Hz. {REMEDY}"
            )
        return samples[:, 0]


class TokenisedClips:
    """The clips of a corpus and their tokens; a clip that several rows share is one clip.

    Args:
        dataset: the corpus.
        checkpoint: the digest of the speech tokenizer.
        records: where the tokens are kept.
        progress: is told of every clip.
        roles: whose clips are meant.
        splits: the rows of which splits.
    """

    def __init__(
        self,
        dataset: DatasetFolder,
        checkpoint: str,
        records: Records,
        progress: Progress,
        roles: Sequence[str] = _ROLES,
        splits: Sequence[Split] = SPLITS,
    ) -> None:
        self._dataset = dataset
        self._roles, self._splits = roles, splits
        self._checkpoint = checkpoint
        self._records = records
        self._progress = progress
        self._keys: dict[tuple[str, str], str] = {}
        pairs = [pair for pair in dataset.slots.values() if pair.query.split in splits]
        totals = {
            subset: len([pair for pair in pairs if pair.query.subset == subset])
            * (RESPONSE in roles)
            + len({pair.query.id for pair in pairs if pair.query.subset == subset})
            for subset in SUBSETS
        }
        progress.begin(STAGE, {subset: total for subset, total in totals.items() if total})

    def missing(self) -> Iterator[list[_Clip]]:
        """Those without tokens, in batches of about `BATCH` segments; no clip comes twice."""
        known: set[str] = set()
        sound = [f"{role}_{what}" for role in self._roles for what in ("audio", "seconds")]
        for split in self._splits:
            for subset in SUBSETS:
                for rows in rows_of(self._dataset, subset, split, *sound):
                    clips = [self._clip(row, subset, role) for row in rows for role in self._roles]
                    fresh = {clip.key: clip for clip in clips if clip.key not in known}
                    known |= fresh.keys()
                    yield from _batches(clip for clip in fresh.values() if not self._has(clip))

    def _clip(self, row: Row, subset: Subset, role: str) -> _Clip:
        data = row[f"{role}_audio"]["bytes"]
        key = token_key(self._checkpoint, data)
        self._keys[row["id"], role] = key
        return _Clip(f"The {role} of {row['id']}", subset, key, data, row[f"{role}_seconds"])

    def _has(self, clip: _Clip) -> bool:
        there = clip.key in self._records
        if there:
            self._progress.filled(STAGE, clip.subset)
        return there

    def put(self, clip: _Clip, tokens: list[int]) -> None:
        """Stores the tokens of a clip."""
        self._records.put(clip.key, {"tokens": tokens})
        self._progress.filled(STAGE, clip.subset)

    def tokens(self, row: Row, role: str) -> list[int]:
        """The tokens of a row's clip, once every clip has some."""
        tokens: list[int] = self._records.require(self._keys[row["id"], role])["tokens"]
        return tokens


class SpokenBefore:
    """What was said before each turn of a dialogue, as the rows of a corpus come in their order."""

    def __init__(self, dataset: DatasetFolder, clips: TokenisedClips) -> None:
        self._dataset, self._clips = dataset, clips
        self._said: list[Spoken] = []

    def of(self, row: Row) -> tuple[Spoken, ...]:
        """What was said before a row, which has `response_text`; nothing but in a dialogue."""
        query = self._dataset.slots[row["id"]].query
        if query.opens:
            self._said = []
        before = tuple(self._said)
        if query.turn:
            query_tokens, response_tokens = (self._clips.tokens(row, role) for role in _ROLES)
            self._said.append(Spoken(query_tokens, row["response_text"], response_tokens))
        return before


def _batches(clips: Iterable[_Clip]) -> Iterator[list[_Clip]]:
    """Clips of like length together, about `BATCH` segments each."""
    batch: list[_Clip] = []
    for clip in sorted(clips, key=lambda clip: clip.seconds):
        if batch and sum(other.segments for other in batch) + clip.segments > BATCH:
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch


Encode = Callable[[list[_Clip]], list[list[int]]]


def encoder_here(checkpoint: Path, device: str) -> Encode:
    """Encodes on a device of this machine, with a copy of the network loaded at the first batch."""
    load = cache(partial(SpeechTokenizer.from_pretrained, checkpoint, device))
    return lambda clips: load().encode([clip.samples() for clip in clips], SAMPLE_RATE)


def encode_there(
    workers: Workers, checkpoint: Path, digest: str, clips: list[_Clip]
) -> list[list[int]]:
    """Encodes on a worker of the Dask cluster, which has the checkpoint of that digest."""
    for clip in clips:
        clip.samples()  # a damaged one is refused here, by its name
    sounds = [clip.data for clip in clips]  # a tenth of what their samples weigh
    return workers.wait_for(workers.submit(encode_in_worker, checkpoint, digest, sounds))


def tokenize(clips: TokenisedClips, encoders: Sequence[Encode]) -> None:
    """Makes the tokens that are missing; every encoder takes the next batch when it is free."""
    batches = clips.missing()
    taking, stopped = Lock(), Event()

    def take() -> list[_Clip] | None:
        with taking:
            return next(batches, None)

    def work(encode: Encode) -> None:
        while not stopped.is_set() and (batch := take()):
            for clip, tokens in zip(batch, encode(batch), strict=True):
                clips.put(clip, tokens)

    with ThreadPoolExecutor(len(encoders)) as pool:
        try:
            for done in as_completed([pool.submit(work, encode) for encode in encoders]):
                done.result()
        finally:
            stopped.set()  # the first error, or a user, ends the work of all
