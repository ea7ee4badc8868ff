"""Training sequences: the corpus as strings that an adapter learns to continue.

Each pair becomes one string: what the user feels, as a point of the valence-arousal plane, the
query as speech tokens, the response as text and as speech tokens. Some pairs of the emotional
subset lose the point ("affect dropout"), so that a model learns to hear the feeling as well; where
the query is neutral, the point is all there is to go by, so there it stays.

Speech tokens are made once per clip and kept in the store, so a run that was killed goes on with
the batch it was at, and one with nothing to do only reads.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from itertools import groupby
from math import ceil
from pathlib import Path
from threading import Event, Lock
from typing import BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from corpus.adapter.speech_tokens import (
    BATCH,
    SEGMENT_SECONDS,
    SpeechTokenizer,
    checkpoint_digest,
    checkpoint_folder,
    devices_here,
    encode_in_worker,
)
from corpus.compute.local_or_dask import Workers
from corpus.dataset.dataset_folder import DatasetFolder, dataset_root
from corpus.dataset.manifest import NAME
from corpus.errors import InvalidInput, SympatheiaError
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import Row
from corpus.sound.clip_audio import Undecodable, decode
from corpus.speech.speech_stage import QUERY, RESPONSE
from corpus.store.digest_store import Records, write_whole
from corpus.store.opening import open_store
from schemas.audio import SAMPLE_RATE
from schemas.recipe import Adapter
from schemas.slots import EMOTIONAL, SPLITS, SUBSETS, PairSlot, Split, Subset

STAGE = "speech tokens"
LISTING = "affect_dropout.json"
"""Beside the sequences: which corpus they are of, and who lost their affect."""
AFFECT_DROPOUT = Adapter().affect_dropout
"""Share of the emotional subset that loses its affect: a third, as in the published sequences."""

_ROLES = (QUERY, RESPONSE)
_SOUND = tuple(f"{role}_{what}" for role in _ROLES for what in ("audio", "seconds"))
_TEXT = ("response_text", "valence", "arousal")
_REMEDY = "build the corpus again from its run folder, or fetch the dataset anew with its audio"


def sequence(
    query_tokens: Iterable[int],
    response_text: str,
    response_tokens: Iterable[int],
    affect: tuple[float, float] | None,
) -> str:
    """The string of a pair, as published.

    Args:
        query_tokens: Speech tokens of the query.
        response_text: What the response says.
        response_tokens: Speech tokens of the response.
        affect: Valence and arousal; None where they are dropped.
    """
    emotion = "N/A"
    if affect is not None:
        # Adding zero makes a zero of what would be written as -0.00.
        valence, arousal = (round(value, 2) + 0.0 for value in affect)
        emotion = f"(valence={valence:.2f}, arousal={arousal:.2f})"
    return (
        f"<|system|>\nPlease respond in English. User emotion {emotion}\n"
        f"<|user|>\n{_audio(query_tokens)}\n"
        f"<|assistant|>\n{response_text}\n{_audio(response_tokens)}<|user|>"
    )


def _audio(tokens: Iterable[int]) -> str:
    return "".join(f"<|audio_{token}|>" for token in tokens)


def affect_dropout(
    pairs: Iterable[PairSlot], seed: int, fraction: float = AFFECT_DROPOUT
) -> list[str]:
    """The ids of the emotional pairs that lose their affect, sorted.

    They follow from the plan and the seed alone. Of n pairs it is round(fraction * n), evenly
    spread: after each anchor as many are dropped as the fraction of all pairs up to there asks for.

    Args:
        pairs: The slots of a plan, in its order.
        seed: Of the recipe.
        fraction: Of the emotional subset.
    """
    emotional = (pair for pair in pairs if pair.query.subset == EMOTIONAL)
    dropped: list[str] = []
    seen = 0
    for _, cell in groupby(emotional, key=lambda pair: pair.cell):
        ids = sorted(
            (pair.id for pair in cell),
            key=lambda name: sha256(f"{seed}/affect/{name}".encode()).digest(),
        )
        seen += len(ids)
        dropped += ids[: round(fraction * seen) - len(dropped)]
    return sorted(dropped)


def token_key(checkpoint: str, clip: bytes) -> str:
    """What the tokens of a clip are stored under, given the digest of the speech tokenizer."""
    return sha256(f"{checkpoint} {sha256(clip).hexdigest()}".encode()).hexdigest()


def encode_corpus(
    folder: Path,
    speech_tokenizer: str | Path,
    devices: Sequence[str] | None = None,
    output: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Writes the training sequences of a corpus, one file a split.

    Beside `encoded_train.jsonl` and `encoded_eval.jsonl` stands `affect_dropout.json`, which tells
    the pairs whose text has no affect. Each file appears when it is whole.

    Args:
        folder: A run folder, or a dataset folder.
        speech_tokenizer: Its checkpoint: a folder, or a name on the Hub.
        devices: Where it runs, each with a copy of its own; one that is named twice has two. If
            None, on the Dask cluster of the run's recipe, else on every GPU here, else on the CPU.
        output: Where `sequences/` and the store of tokens go; the run folder itself if None.
        progress: Is told of every clip.

    Returns:
        The folder of the files.

    Raises:
        InvalidInput: There is no corpus in the folder, or it is a bare dataset folder and no output
            is given; there is no speech tokenizer, or no such device.
        SympatheiaError: The corpus is damaged or has no sound, or a build is at work in the folder.
        OSError: The disk is full or fails; files that stood before are untouched.
    """
    run = RunFolder(folder)
    dataset = _dataset(run)
    if output is None and dataset.root == folder:
        raise InvalidInput(
            f"{folder} is a dataset folder, whose files are all in its manifest, so sequences do "
            "not belong into it. Name another place with --output."
        )
    recipe = run.read_recipe() if run.recipe.is_file() else None
    fraction = recipe.adapter.affect_dropout if recipe else AFFECT_DROPOUT
    shared, dask = (recipe.storage.url, recipe.compute.dask) if recipe else ("", "")
    dropped = affect_dropout(dataset.slots.values(), dataset.manifest.seed, fraction)
    _require_rows(dataset)
    checkpoint = checkpoint_folder(speech_tokenizer)
    target = RunFolder(output or folder)
    with target.locked(), open_store(target.store, shared) as store:
        digest = checkpoint_digest(checkpoint)
        clips = _Clips(dataset, digest, store.speech_tokens, progress or Progress(None))
        if dask and devices is None:
            with Workers("makes speech tokens", 1, dask) as workers:
                _tokenize(clips, [partial(_there, workers, checkpoint, digest)] * workers.at_once)
        else:
            _tokenize(clips, [_here(checkpoint, device) for device in devices or devices_here()])
        _write(target.sequences, dataset, clips, set(dropped))
        corpus = sha256((dataset.root / NAME).read_bytes()).hexdigest()
        facts = {"corpus": corpus, "fraction": fraction, "count": len(dropped), "ids": dropped}
        listing = orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n"
        write_whole(target.sequences / LISTING, listing)
    return target.sequences


def require_fresh(run: RunFolder) -> None:
    """Passes unless the sequences of a run were made of another corpus than it has now.

    Raises:
        InvalidInput: they were.
    """
    listing, manifest = run.sequences / LISTING, run.corpus / NAME
    if not (listing.is_file() and manifest.is_file()):
        return  # nothing to compare: sequences may come from elsewhere
    if (
        orjson.loads(listing.read_bytes()).get("corpus")
        != sha256(manifest.read_bytes()).hexdigest()
    ):
        raise InvalidInput(
            f"{run.sequences} was made of another corpus than {run.corpus} is now. Run "
            "'sympatheia encode' again: only what is new is encoded."
        )


def _dataset(run: RunFolder) -> DatasetFolder:
    if run.recipe.is_file() and not run.corpus.is_dir():
        raise InvalidInput(
            f"The run {run.root} has no corpus yet; 'sympatheia build' with its recipe makes it."
        )
    return DatasetFolder(dataset_root(run.root))


def _rows(
    dataset: DatasetFolder, subset: Subset, split: Split, *columns: str
) -> Iterator[list[Row]]:
    """The rows of a subset and split in slot order, a row group at a time; `id` is always there."""
    for path in sorted((dataset.root / "data" / subset).glob(f"{split}-*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                for name in ("id", *columns):
                    if name not in file.schema_arrow.names:
                        raise SympatheiaError(f"{path} has no column {name}; {_REMEDY}.")
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns=["id", *columns]).to_pylist()
        except (pa.ArrowException, OSError) as error:
            what = " ".join(str(error).split())[:200]
            raise SympatheiaError(f"{path} cannot be read ({what}); {_REMEDY}.") from error


def _require_rows(dataset: DatasetFolder) -> None:
    """Refuses a corpus that lacks rows: less than its plan, it is not what it says it is."""
    for split in SPLITS:
        planned = [pair.id for pair in dataset.slots.values() if pair.query.split == split]
        found = [
            row["id"]
            for subset in SUBSETS
            for rows in _rows(dataset, subset, split)
            for row in rows
        ]
        if found != planned:
            raise SympatheiaError(
                f"The {split} rows of {dataset.root} are not those of its plan (it has "
                f"{len(found):,}, planned are {len(planned):,}); 'sympatheia check "
                f"{dataset.root}' shows what is wrong."
            )


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
            raise SympatheiaError(f"{self.name}: {error} {_REMEDY.capitalize()}.") from error
        if rate != SAMPLE_RATE or not len(samples):
            raise SympatheiaError(
                f"{self.name} has {len(samples)} samples at {rate} Hz; a corpus holds speech at "
                f"{SAMPLE_RATE} Hz. {_REMEDY.capitalize()}."
            )
        return samples[:, 0]


class _Clips:
    """The clips of a corpus and their tokens; a clip that several rows share is one clip."""

    def __init__(
        self, dataset: DatasetFolder, checkpoint: str, records: Records, progress: Progress
    ) -> None:
        self._dataset = dataset
        self._checkpoint = checkpoint
        self._records = records
        self._progress = progress
        self._keys: dict[tuple[str, str], str] = {}
        pairs = dataset.slots.values()
        totals = {
            subset: sum(pair.query.subset == subset for pair in pairs)
            + len({pair.query.id for pair in pairs if pair.query.subset == subset})
            for subset in SUBSETS
        }
        progress.begin(STAGE, {subset: total for subset, total in totals.items() if total})

    def missing(self) -> Iterator[list[_Clip]]:
        """Those without tokens, in batches of about `BATCH` segments; no clip comes twice."""
        known: set[str] = set()
        for split in SPLITS:
            for subset in SUBSETS:
                for rows in _rows(self._dataset, subset, split, *_SOUND):
                    clips = [self._clip(row, subset, role) for row in rows for role in _ROLES]
                    fresh = {clip.key: clip for clip in clips if clip.key not in known}
                    known |= fresh.keys()
                    yield from _batches(clip for clip in fresh.values() if not self._has(clip))

    def _clip(self, row: Row, subset: Subset, role: str) -> _Clip:
        data = (row[f"{role}_audio"] or {}).get("bytes")
        if not data:
            raise SympatheiaError(f"The {role} of {row['id']} has no audio; {_REMEDY}.")
        key = token_key(self._checkpoint, data)
        self._keys[row["id"], role] = key
        return _Clip(f"The {role} of {row['id']}", subset, key, data, row[f"{role}_seconds"] or 0.0)

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
        record = self._records.get(self._keys[row["id"], role])
        assert record is not None
        tokens: list[int] = record["tokens"]
        return tokens


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


def _here(checkpoint: Path, device: str) -> Encode:
    """Encodes on a device of this machine, with a copy of the network loaded at the first batch."""
    load = cache(partial(SpeechTokenizer.from_pretrained, checkpoint, device))
    return lambda clips: load().encode([clip.samples() for clip in clips], SAMPLE_RATE)


def _there(workers: Workers, checkpoint: Path, digest: str, clips: list[_Clip]) -> list[list[int]]:
    for clip in clips:
        clip.samples()  # a damaged one is refused here, by its name
    sounds = [clip.data for clip in clips]  # a tenth of what their samples weigh
    return workers.wait_for(workers.submit(encode_in_worker, checkpoint, digest, sounds))


def _tokenize(clips: _Clips, encoders: Sequence[Encode]) -> None:
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


def _write(folder: Path, dataset: DatasetFolder, clips: _Clips, dropped: set[str]) -> None:
    for split in SPLITS:
        with _whole(folder / f"encoded_{split}.jsonl") as file:
            for subset in SUBSETS:
                for rows in _rows(dataset, subset, split, *_TEXT):
                    for row in rows:
                        file.write(_line(row, clips, row["id"] in dropped))


def _line(row: Row, clips: _Clips, without_affect: bool) -> bytes:
    text = sequence(
        clips.tokens(row, QUERY),
        row["response_text"],
        clips.tokens(row, RESPONSE),
        None if without_affect else (row["valence"], row["arousal"]),
    )
    known = {name: row[name] for name in ("id", "valence", "arousal")}
    return orjson.dumps({"text": text} | known) + b"\n"


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which appears under its name when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
