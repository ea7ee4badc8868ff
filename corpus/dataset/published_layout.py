"""The published pipeline's layout of a corpus: written from ours, and read into ours.

Its training and encoding scripts read this (github.com/susameddin/sympatheia, dataset_creation):

    Emotional/metadata/text_pairs_{train,eval}.jsonl
    Emotional/audio/{train,eval}/{emotion}_{query,response}/{index}.wav
    Neutral/metadata/text_pairs_{train,eval}.jsonl
    Neutral/metadata/unique_queries_{train,eval}.jsonl
    Neutral/audio/{train,eval}/query/neutral/{query_index}.wav
    Neutral/audio/{train,eval}/response/{emotion}/{index}.wav

An index is `Emotional_Sad_00017`, `Neutral_00042` or `Neutral_00042_Angry`, an emotion in a row is
capitalised, in a path it is not. `topic` is ours: their scripts pass it over, and a corpus that
comes back still has it. Sound goes from FLAC to 16-bit WAV and back without loss.
"""

import codecs
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from corpus.dataset.dataset_folder import REMEDY, DatasetFolder, whole_row
from corpus.dataset.shard_writer import Clip, Said, row_of, write_dataset
from corpus.errors import InvalidInput, SympatheiaError
from corpus.git_lfs import POINTER, is_pointer
from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import Prompts
from corpus.plan.slot_layout import LAYOUT
from corpus.plan.subsets.registry import ROOMS
from corpus.plan.user_input import shown
from corpus.run.stage_tables import Row
from corpus.sound.sound_files import Undecodable, recode
from corpus.speech.clip_requests import QUERY, RESPONSE
from corpus.store.files import take_name
from schemas.audio import SAMPLE_RATE
from schemas.recipe import BLOCK, Recipe
from schemas.slots import EMOTIONAL, NEUTRAL, SPLITS, SUBSETS, PairSlot, Split
from schemas.tables import ADDED, rows_with

UNKNOWN_TOPIC = "unknown"
_NAME = r"[A-Za-z][A-Za-z0-9_]*?"
_INDEX = re.compile(rf"(?:Emotional_(?P<label>{_NAME})|Neutral)_(?P<number>\d{{5}})(?:_{_NAME})?")
_LETTERS = {split: letter for letter, split in LAYOUT.items()}


def _label(anchor: str) -> str:
    return anchor.capitalize()


def _query_index(query_id: str) -> str:
    """`emotional-sad-00017` as `Emotional_Sad_00017`."""
    cell, _, number = query_id.rpartition("-")
    subset, _, anchor = cell.partition("-")
    return "_".join([subset.capitalize(), *([_label(anchor)] if anchor else []), number])


def _clip_path(root: Path, subset: str, split: str, role: str, emotion: str, index: str) -> Path:
    folder = root / subset.capitalize() / "audio" / split
    if subset == EMOTIONAL:
        return folder / f"{emotion}_{role}" / f"{index}.wav"
    return folder / role / emotion / f"{index}.wav"


def _metadata(root: Path, subset: str, name: str, split: str) -> Path:
    return root / subset.capitalize() / "metadata" / f"{name}_{split}.jsonl"


# Ours to theirs


def export(folder: Path, output: Path) -> int:
    """Writes the corpus of a run or dataset folder in the published layout.

    Args:
        folder: a run folder, or a dataset folder.
        output: a folder that is not there yet; it appears when it is whole.

    Returns:
        The number of pairs.

    Raises:
        InvalidInput: there is no dataset in the folder, or the output is there already.
        SympatheiaError: the dataset is damaged, or its rows are not those that were planned.
        OSError: the disk is full or fails.
    """
    dataset = DatasetFolder(folder)
    dataset.require_planned()
    if output.exists():
        raise InvalidInput(f"{output} is there already; name a new folder.")
    unfinished = output.with_name(f".{output.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        columns = rows_with(dataset.blueprint.plan.columns).names
        for subset in SUBSETS:
            for path, row in dataset.rows(subset, columns):
                _export_row(dataset.slots[row["id"]], path, whole_row(path, row), unfinished)
        take_name(unfinished, output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return len(dataset.slots)


def _export_row(slot: PairSlot, path: Path, row: Row, root: Path) -> None:
    # What names files is taken from the plan: a row may say anything, ".." too.
    subset, split = slot.query.subset, slot.query.split
    query_index = _query_index(slot.query.id)
    asked, answered = slot.query.emotion, slot.anchor
    if (row["query_emotion"], row["response_emotion"]) != (asked, answered):
        raise SympatheiaError(
            f"The row {slot.id} of {path} is planned to be {asked} and {answered}, and not "
            f"{shown(row['query_emotion'])} and {shown(row['response_emotion'])}. {REMEDY}"
        )
    shared = {"query_text": row["query_text"], "query_emotion": _label(asked)}
    if subset == EMOTIONAL:
        index = query_index
        pair = {"index": index, **shared, "source_emotion": _label(asked)}
    else:
        index, own = query_index, slot.id.removeprefix(f"{slot.query.id}-")
        if slot.id != slot.query.id:
            index = f"{query_index}_{_label(own)}"
        pair = {"index": index, "query_index": query_index, **shared}
        pair["response_emotion"] = _label(answered)
        pair |= {name: row[name] for name in ("valence", "arousal") if slot.place}
    pair |= {"response_text": row["response_text"], "topic": row["topic"]}
    pair |= {name: row[name] for name in ADDED if row.get(name) is not None}
    _append(_metadata(root, subset, "text_pairs", split), pair)
    query = _clip_path(root, subset, split, QUERY, asked, query_index)
    if not query.exists():
        _write_wav(query, path, row, QUERY)
        if subset != EMOTIONAL:
            unique = {"query_index": query_index, **shared}
            _append(_metadata(root, subset, "unique_queries", split), unique)
    response = _clip_path(root, subset, split, RESPONSE, answered, index)
    _write_wav(response, path, row, RESPONSE)


def _append(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(orjson.dumps(record) + b"\n")


def _write_wav(target: Path, shard: Path, row: Row, role: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        wav, *_ = recode(row[f"{role}_audio"]["bytes"], "WAV")
    except Undecodable as error:
        raise SympatheiaError(f"The {role} of {row['id']} in {shard}: {error} {REMEDY}") from error
    target.write_bytes(wav)


# Theirs to ours


@dataclass(frozen=True, slots=True)
class _Pair:
    """One line of their metadata, with the anchors by our names."""

    cell: str
    number: int
    split: Split
    anchor: str
    topic: str
    query: str
    response: str
    query_wav: Path
    response_wav: Path


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import; `left_out` names the first few of the pairs that were."""

    pairs: int
    left_out: int
    examples: list[str]


def import_corpus(source: Path, output: Path, blueprint: Blueprint) -> Imported:
    """Reads a corpus in the published layout into a dataset folder of ours.

    Numbers and splits stay as they are. A pair without both of its clips is left out, and so is a
    neutral query that is not answered for every anchor of the corpus: the subset is there to
    compare the answers.

    Args:
        source: the folder that has `Emotional` and `Neutral`, or one of them.
        output: a folder that is not there yet; it appears when it is whole.
        blueprint: says how the corpus is described: name, prompts with the anchors' coordinates,
            models and voices.

    Raises:
        InvalidInput: the output is there already; the source has no such corpus; a line is not of
            this format; an emotion is no anchor; a clip is not 24 kHz mono.
        OSError: the disk is full or fails.
    """
    if output.exists():
        raise InvalidInput(f"{output} is there already; name a new folder.")
    prompts = blueprint.prompts
    pairs, lost = _read_pairs(source, prompts)
    present = {pair.anchor for pair in pairs.values()}
    anchors = tuple(anchor.name for anchor in prompts.anchors if anchor.name in present)
    lost += _leave_out_unanswered(pairs, anchors)
    if not pairs:
        raise InvalidInput(
            f"{source} has no pair with both of its clips; the first left out is {lost[0]}."
            if lost
            else f"{source} is not a corpus in the published layout: it has no "
            f"{_metadata(Path(), EMOTIONAL, 'text_pairs', '{train,eval}')}."
        )
    layout = _layout(pairs)
    described = Blueprint.of(_planned(blueprint.recipe, anchors, layout), prompts, layout)

    def rows() -> Iterator[tuple[PairSlot, Row]]:
        shared: tuple[Path | None, Clip | None] = (None, None)
        for slot in described.plan.pairs():
            pair = pairs[slot.id]
            known, clip = shared
            if clip is None or known != pair.query_wav:
                clip = _read_clip(pair.query_wav)
                shared = pair.query_wav, clip
            said = Said(pair.topic, pair.query, pair.response, clip, _read_clip(pair.response_wav))
            yield slot, row_of(described, slot, said)

    unfinished = output.with_name(f".{output.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        write_dataset(unfinished, described, rows())
        take_name(unfinished, output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Imported(len(pairs), len(lost), lost[:5])


def _read_pairs(source: Path, prompts: Prompts) -> tuple[dict[str, _Pair], list[str]]:
    """The pairs that have both clips, by our id, and the indices of those that have not."""
    pairs: dict[str, _Pair] = {}
    lost: list[str] = []
    for subset in (EMOTIONAL, NEUTRAL):
        for split in SPLITS:
            path = _metadata(source, subset, "text_pairs", split)
            if not path.is_file():
                continue
            if is_pointer(path):
                raise InvalidInput(f"{path} is {POINTER}.")
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if number == 1:
                        line = line.removeprefix(codecs.BOM_UTF8)
                    if not line.strip():
                        continue
                    where = f"{path}, line {number}"
                    slot_id, pair, index = _read_pair(source, subset, split, line, where, prompts)
                    if slot_id in pairs:
                        raise InvalidInput(f"{where}: {index} is there twice.")
                    if pair.query_wav.is_file() and pair.response_wav.is_file():
                        pairs[slot_id] = pair
                    else:
                        lost.append(index)
    return pairs, lost


def _read_pair(
    source: Path, subset: str, split: Split, line: bytes, where: str, prompts: Prompts
) -> tuple[str, _Pair, str]:
    try:
        record = orjson.loads(line)
        index, query, response = (
            _words(record[key], key, where) for key in ("index", "query_text", "response_text")
        )
        asked = _anchor(record["query_emotion"], prompts, where)
        said = record["response_emotion"] if subset == NEUTRAL else record.get("response_emotion")
        answered = asked if said is None else _anchor(said, prompts, where)
        query_index = str(record["query_index"]) if subset == NEUTRAL else index
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{where} is not a pair of the published format ({type(error).__name__}: {error})."
        ) from error
    found = [_INDEX.fullmatch(name) for name in (index, query_index)]
    if not all(found):
        wrong = index if found[0] is None else query_index
        raise InvalidInput(f"{where}: {shown(wrong)} is not an index of the published format.")
    number, label = found[0]["number"], found[0]["label"]  # type: ignore[index]
    if (label and _anchor(label, prompts, where) != asked) or (answered != asked and label):
        raise InvalidInput(f"{where}: '{index}' is not an index of a pair that is {asked}.")
    cell = NEUTRAL if subset == NEUTRAL else f"{EMOTIONAL}-{asked}"
    slot_id = f"{cell}-{number}" + (f"-{answered}" if subset == NEUTRAL else "")
    emotion = str(record["query_emotion"]).lower()
    answer = emotion if said is None else str(said).lower()
    clips = (
        _clip_path(source, subset, split, QUERY, emotion, query_index),
        _clip_path(source, subset, split, RESPONSE, answer, index),
    )
    for clip in clips:
        if not clip.resolve().is_relative_to(source.resolve()):
            raise InvalidInput(
                f"{where}: {clip} lies outside {source}; only what is in it is read."
            )
    topic = record.get("topic")
    topic = UNKNOWN_TOPIC if topic is None else str(topic)
    return slot_id, _Pair(cell, int(number), split, answered, topic, query, response, *clips), index


def _words(value: object, key: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(
            f"{where}: {key} has to be a text that says something (got {shown(value)})."
        )
    return value


def _anchor(label: object, prompts: Prompts, where: str) -> str:
    name = str(label).lower()
    name = prompts.anchor_file.aliases.get(name, name)
    known = [anchor.name for anchor in prompts.anchors]
    if name not in known:
        raise InvalidInput(
            f"{where}: {shown(label)} is not an anchor of {prompts.folder}; it has "
            f"{', '.join(known)}."
        )
    return name


def _leave_out_unanswered(pairs: dict[str, _Pair], anchors: tuple[str, ...]) -> list[str]:
    """Takes out every neutral query that lacks an answer; gives the ids of its pairs."""
    answers: defaultdict[int, list[str]] = defaultdict(list)
    for slot_id, pair in pairs.items():
        if pair.cell == NEUTRAL:
            answers[pair.number].append(slot_id)
    lost = [slot_id for ids in answers.values() if len(ids) < len(anchors) for slot_id in ids]
    for slot_id in lost:
        del pairs[slot_id]
    return lost


def _layout(pairs: dict[str, _Pair]) -> dict[str, str]:
    """Their splits as a layout (see `corpus.plan.slot_layout.LAYOUT`).

    Raises:
        InvalidInput: a neutral query has answers in both splits, or two texts.
    """
    splits: defaultdict[str, dict[int, tuple[Split, str]]] = defaultdict(dict)
    for slot_id, pair in pairs.items():
        first = splits[pair.cell].setdefault(pair.number, (pair.split, pair.query))
        if first != (pair.split, pair.query):
            raise InvalidInput(
                f"{slot_id} differs in split or query text from other answers to its query; mend "
                "the metadata, since a query is on one side only."
            )
    return {
        cell: "".join(
            _LETTERS[numbers[number][0]] if number in numbers else "-"
            for number in range(max(numbers) + 1)
        )
        for cell, numbers in splits.items()
    }


def _planned(recipe: Recipe, anchors: tuple[str, ...], layout: dict[str, str]) -> Recipe:
    """The recipe with the sizes and the split, to the next tenth, that the corpus has."""
    letters = "".join(layout.values())
    share = letters.count(_LETTERS["eval"]) / max(1, len(letters) - letters.count("-"))
    emotional = [len(found) for cell, found in layout.items() if cell != NEUTRAL]
    sizes: dict[str, Any] = {name: {} for name, room in ROOMS.items() if room.optional}
    sizes |= {
        "anchors": anchors,
        "emotional": {"pairs_per_anchor": max(emotional, default=0)},
        "neutral": {"queries": len(layout.get(NEUTRAL, ""))},
        "split": {"eval_fraction": min(round(share * BLOCK), BLOCK - 1) / BLOCK},
    }
    return Recipe.model_validate(recipe.model_dump() | sizes)


def _read_clip(path: Path) -> Clip:
    try:
        flac, frames, rate, channels = recode(path.read_bytes(), "FLAC")
    except Undecodable as error:
        if is_pointer(path):
            raise SympatheiaError(f"{path} is {POINTER}.") from error
        raise SympatheiaError(f"{path}: {error}. Remove it to have its pair left out.") from error
    if (rate, channels) != (SAMPLE_RATE, 1):
        raise InvalidInput(
            f"{path} has {channels} channels at {rate} Hz; a corpus holds {SAMPLE_RATE} Hz mono. "
            "Convert the clips first, with sox for example."
        )
    return Clip(flac, frames / rate)
