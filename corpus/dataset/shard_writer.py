"""Shards: joins texts and clips into the rows of the corpus, and writes the dataset folder.

The folder is written whole under another name and then takes the old one's place. It depends on
the tables, the store and the prompts alone, so the same corpus gives the same bytes.
"""

import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.dataset.cast_facts import CastFacts
from corpus.dataset.dataset_card import Review, SplitFacts, write_card
from corpus.dataset.manifest import describe
from corpus.plan.blueprint import Blueprint
from corpus.run.open_run import OpenRun
from corpus.run.stage_tables import Row, read_rows
from corpus.run.up_to_date import Stamp
from corpus.sound.sound_files import Undecodable, decode
from corpus.speech.builtin_voice import tts_model
from corpus.speech.clip_requests import QUERY, RESPONSE, query_clip, response_clip
from corpus.store.clips import Clips, DamagedClip
from corpus.store.digest_store import Store
from corpus.store.files import sync, sync_tree
from schemas.recipe import SERVING
from schemas.slots import SPLITS, TEXT, PairSlot
from schemas.tables import AUDIO, EMPATHY, ROWS, rows_with, text_rows_with

STAGE = "shards"

ROW_GROUP_BYTES = 32_000_000
"""The Hub's viewer reads a row group at a time and wants them under 100 MB; both splits of every
subset are open at once, so this also bounds the stage's memory."""

READ_AHEAD = 16
"""Clips that are read before their turn, so that packing need not wait for each one's way here."""

# Clips are compressed already; squeezing FLAC again costs time and wins nothing.
COMPRESSION = {
    f"{name}.bytes" if ROWS.field(name).type == AUDIO else name: (
        "NONE" if ROWS.field(name).type == AUDIO else "zstd"
    )
    for name in ROWS.names
} | {f"{name}.path": "zstd" for name in ROWS.names if ROWS.field(name).type == AUDIO}


@dataclass(frozen=True, slots=True)
class Clip:
    """A FLAC file's bytes, and how long it sounds."""

    flac: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class Said:
    """What fills a pair slot; `levels` decide how the response is spoken, where something does."""

    topic: str
    query: str
    response: str
    query_clip: Clip
    response_clip: Clip
    query_attempt: int = 0
    response_attempt: int = 0
    levels: Sequence[float] = ()
    annotation: Mapping[str, str] = field(default_factory=dict)


def write_corpus(run: OpenRun, review: Review | None = None) -> None:
    """Writes `corpus/`: the Parquet shards and the card. Does nothing if they are up to date.

    Args:
        run: what is packed.
        review: how much of it people reviewed, for the card.

    Raises:
        DamagedClip: a clip is not what was made; the corpus that stood before is untouched, as by
            any error.
        OSError: the disk is full or fails.
    """
    folder, plan, progress = run.folder, run.blueprint.plan, run.progress
    made_from = _inputs(run, review)
    stamp = Stamp(folder.corpus_stamp, folder.corpus)
    if stamp.holds(made_from):
        for pair in plan.pairs():
            progress.filled(STAGE, pair.cell)
        return

    def rows() -> Iterator[tuple[PairSlot, Row]]:
        for pair, row in corpus_rows(run):
            yield pair, row
            progress.filled(STAGE, pair.cell)

    with _taking_the_place_of(folder.corpus) as fresh:
        write_dataset(fresh, run.blueprint, rows(), review)
        stamp.drop()
    stamp.put(made_from, (path for path in folder.corpus.rglob("*") if path.is_file()))


def _inputs(run: OpenRun, review: Review | None) -> str:
    recipe, digest = run.blueprint.recipe, sha256()
    annotated = [run.folder.annotations] if recipe.annotate.empathy else []
    for path in (run.folder.queries, run.folder.responses, run.folder.clips, *annotated):
        digest.update(sha256(path.read_bytes()).digest())
    digest.update(run.blueprint.prompts.digest.encode())
    places = dict.fromkeys(
        ("annotate", "prompts", "adapter", "evaluation", "storage", "compute", "limits"), True
    )
    # What a judge of clips refused shows in the table of clips.
    speech = SERVING | {"judge"}
    apart: dict[str, Any] = {"llm": SERVING, "speech": speech, "shards": {"target"}} | places
    shaping = recipe.model_dump_json(exclude=apart)
    digest.update(f"{shaping}\0{tts_model(recipe.speech)}".encode())
    if review:
        digest.update(repr(review).encode())
    return digest.hexdigest()


@contextmanager
def _taking_the_place_of(corpus: Path) -> Iterator[Path]:
    """A folder to write; when the block ends well it is `corpus`, else it is gone."""
    fresh, old = corpus.with_name(".corpus.new"), corpus.with_name(".corpus.old")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        yield fresh
        sync_tree(fresh)  # which takes its time, while the old one is still there
        shutil.rmtree(old, ignore_errors=True)
        if corpus.exists():
            corpus.rename(old)
        fresh.rename(corpus)
        sync(corpus.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def write_dataset(
    folder: Path,
    blueprint: Blueprint,
    rows: Iterable[tuple[PairSlot, Row]],
    review: Review | None = None,
) -> None:
    """Writes a dataset folder: shards, card and manifest; memory stays flat.

    Args:
        folder: where; nothing may be there.
        blueprint: what the card and the manifest say of how the corpus was made.
        rows: each slot's row, in slot order.
        review: how much of it people reviewed, for the card.

    Raises:
        OSError: the disk is full or fails.
    """
    most, plan = blueprint.recipe.shards.max_bytes, blueprint.plan
    light = text_rows_with(plan.columns)
    schemas = dict.fromkeys(plan.subsets, rows_with(plan.columns)) | {TEXT: light}
    writers = {
        (part, split): _SplitWriter(folder / "data" / part, split, schema, most)
        for part, schema in schemas.items()
        for split in SPLITS
    }
    cast = CastFacts(plan.cast)
    try:
        for pair, row in rows:
            cast.add(row)
            writers[pair.query.subset, pair.query.split].add(row)
            writers[TEXT, pair.query.split].add({name: row[name] for name in light.names})
    finally:
        for writer in writers.values():
            writer.close()
    facts = [
        SplitFacts(part, split, writer.rows, writer.finish(), writer.seconds)
        for (part, split), writer in writers.items()
        if writer.rows
    ]
    model = tts_model(blueprint.recipe.speech)
    write_card(folder, blueprint, model, facts, review, cast.heard())
    described = {path: count for fact in facts for path, count in fact.files.items()}
    describe(folder, blueprint, described)


def corpus_rows(run: OpenRun) -> Iterator[tuple[PairSlot, Row]]:
    """The rows of the corpus in slot order, each with its slot; reads every table once."""
    folder, plan = run.folder, run.blueprint.plan
    responses, clips = read_rows(folder.responses), _clips(run.store, read_rows(folder.clips))
    levels: dict[str, float] = {}  # of what was said until now in a dialogue
    annotated = run.blueprint.recipe.annotate.empathy
    annotations = read_rows(folder.annotations) if annotated else repeat({})
    for slot, query in zip(plan.queries(), read_rows(folder.queries), strict=True):
        clip = next(clips)
        spoken = _clip(clip, QUERY)
        levels = {} if slot.opens else levels
        levels[slot.id] = run.store.clip_measures.require(clip[0]["digest"])["level"]
        for pair in plan.pairs_of(slot):
            response = next(responses)
            answered = _clip(next(clips), RESPONSE)
            said = Said(
                query["topic"],
                query["text"],
                response["text"],
                spoken,
                answered,
                query["attempt"],
                response["attempt"],
                [levels[name] for name in plan.rooms[slot.subset].heard_before(pair)],
                next(annotations),
            )
            yield pair, row_of(run.blueprint, pair, said)


def _clips(store: Store, clips: Iterable[Row]) -> Iterator[tuple[Row, bytes]]:
    """Each clip with its file, in order, the next few being read meanwhile."""
    ahead: deque[tuple[Row, Future[bytes]]] = deque()
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        for clip in clips:
            ahead.append((clip, pool.submit(read_clip, store.clips, clip["digest"])))
            if len(ahead) > READ_AHEAD:
                first, file = ahead.popleft()
                yield first, file.result()
        for rest, file in ahead:
            yield rest, file.result()


def read_clip(clips: Clips, digest: str) -> bytes:
    """A clip, which is what was made; one that nothing on file vouches for can be decoded whole.

    Raises:
        DamagedClip: it is gone, empty or damaged.
        OSError, SympatheiaError: it cannot be read.
    """
    flac = clips.read(digest)
    if not clips.vouched_for(digest):
        try:
            decode(flac)
        except Undecodable as error:
            raise clips.damaged(digest, "damaged: it cannot be decoded") from error
        clips.vouch_for(digest, flac)
    return flac


def let_go_of_damaged(run: OpenRun) -> None:
    """Lets go of every damaged clip of a run, to be made again.

    Raises:
        OSError, SympatheiaError: one cannot be read or removed.
    """
    for clip in read_rows(run.folder.clips):
        try:
            read_clip(run.store.clips, clip["digest"])
        except DamagedClip as damaged:
            run.let_go_of_clip(damaged)


def _clip(read: tuple[Row, bytes], role: str) -> Clip:
    clip, flac = read
    assert clip["role"] == role
    return Clip(flac, clip["seconds"])


def row_of(blueprint: Blueprint, pair: PairSlot, said: Said) -> Row:
    """The row of a pair."""
    recipe, slot, room = blueprint.recipe, pair.query, blueprint.room(pair)
    target = room.target(pair)
    asked, answered = query_clip(blueprint, slot, ""), response_clip(blueprint, pair, "")
    return {
        "id": pair.id,
        "subset": slot.subset,
        "split": slot.split,
        "query_id": slot.id,
        "topic": said.topic,
        "query_text": said.query,
        "query_emotion": slot.emotion,
        "response_text": said.response,
        "response_emotion": pair.anchor,
        "valence": target.valence,
        "arousal": target.arousal,
        "query_audio": _audio(said.query_clip, slot.id, QUERY),
        "response_audio": _audio(said.response_clip, pair.id, RESPONSE),
        "query_seconds": said.query_clip.seconds,
        "response_seconds": said.response_clip.seconds,
        "query_style": asked.manner.style,
        "response_style": blueprint.response_manner(pair, said.levels).style,
        "llm_model": recipe.llm.model,
        "tts_model": tts_model(recipe.speech),
        "query_voice": asked.voice,
        "response_voice": answered.voice,
        "query_attempt": said.query_attempt,
        "response_attempt": said.response_attempt,
        **dict.fromkeys(blueprint.plan.columns),
        **blueprint.added(pair),
        **{name: said.annotation[name] for name in EMPATHY if said.annotation},
    }


def _audio(clip: Clip, slot_id: str, role: str) -> Row:
    return {"bytes": clip.flac, "path": f"{slot_id}-{role}.flac"}


class _SplitWriter:
    """Writes one split of a subset, or of the light config, as shards of bounded size."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema, max_bytes: int) -> None:
        self._folder = folder
        self._schema = schema
        self._light = folder.name == TEXT
        self._split = split
        self._max_bytes = max_bytes
        self._group: list[Row] = []
        self._group_bytes = 0
        self._shard_bytes = 0
        self._writer: pq.ParquetWriter | None = None
        self._shards: dict[Path, int] = {}
        self.rows = 0
        self.seconds = 0.0

    def add(self, row: Row) -> None:
        # Texts weigh nothing beside audio; where there is none they are what is counted.
        heavy = () if self._light else ("query_audio", "response_audio")
        size = sum(len(row[name]["bytes"]) for name in heavy) or sum(
            len(row[name]) for name in ("query_text", "response_text")
        )
        if self._group and self._group_bytes + size > ROW_GROUP_BYTES:
            self._flush()
        if self._shard_bytes and self._shard_bytes + self._group_bytes + size > self._max_bytes:
            self.close()
        self._group.append(row)
        self._group_bytes += size
        self.rows += 1
        self.seconds += row["query_seconds"] + row["response_seconds"]

    def _flush(self) -> None:
        if not self._group:
            return
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{self._split}-{len(self._shards):05d}.parquet"
            self._shards[path] = 0
            self._writer = pq.ParquetWriter(
                path,
                self._schema,
                compression="zstd" if self._light else COMPRESSION,
                write_page_index=True,
                use_content_defined_chunking=True,
            )
        self._writer.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
        self._shards[next(reversed(self._shards))] += len(self._group)
        self._shard_bytes += self._group_bytes
        self._group, self._group_bytes = [], 0

    def close(self) -> None:
        """Ends the shard that is being written."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._shard_bytes = 0

    def finish(self) -> dict[Path, int]:
        """Gives the shards their final names, which tell how many there are; rows by shard."""
        count = len(self._shards)
        return {
            path.rename(path.with_name(f"{path.stem}-of-{count:05d}.parquet")): rows
            for path, rows in self._shards.items()
        }
