"""Gates about the clips of a dataset folder, each decoded and measured anew on every core."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq

from corpus.checks.gates import Gates
from corpus.compute.worker_processes import worker_processes
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.errors import SympatheiaError
from corpus.sound.clip_audio import (
    HIGHEST_PEAK,
    MARGIN_SECONDS,
    ClipMeasures,
    measure_finished,
)
from corpus.sound.clip_rules import CLIP_RULES, HeardClip, clip_rules, judge
from corpus.speech.speech_stage import QUERY, RESPONSE
from corpus.voices.builtin_synthesis import style_loudness
from schemas.recipe import RuleSetting
from schemas.slots import SUBSETS, PairSlot

SECONDS_TOLERANCE = 0.005
LOUDNESS_TOLERANCE = 0.5
PEAK_TOLERANCE = 0.02
ENDS_TOLERANCE = 0.06
"""Seconds, LUFS, share of full scale and seconds: roundings of 16 bits and of frames of 10 ms, and
for the ends that a soft onset may lie under the level that counts as sound."""
SLOWEST_MEDIAN, FASTEST_MEDIAN = 1.5, 4.5
"""Words per second of a corpus's median clip; conversation is at 2 to 3.5."""

AHEAD = 2
"""Row groups that wait measured beside those at work: what bounds memory."""


@dataclass(frozen=True, slots=True)
class _Clip:
    """One clip of a row; the digest is the SHA-256 of its bytes."""

    row_id: str
    role: str
    digest: str
    measures: ClipMeasures


def check_clips(dataset: DatasetFolder, gates: Gates) -> None:
    """Every clip is one that a run would accept, as loud and as long as it should be, and its own.

    Raises:
        SympatheiaError: a process died, for want of memory perhaps.
    """
    gates.open("clip", "clip_seconds", "clip_loudness", "clip_ends", "clip_twice")
    gates.open("query_clip_not_shared")
    rules = clip_rules(_of_finished(dataset.blueprint.recipe.speech.rules))
    texts: dict[str, str] = {}
    of_query: dict[str, str] = {}
    rates: list[float] = []
    for clip in _clips_of([path for path in dataset.readable if path.parent.name in SUBSETS]):
        slot = dataset.slots.get(clip.row_id)
        if slot is None:
            continue
        row, measures = dataset.pairs[clip.row_id], clip.measures
        name, text = f"{clip.row_id}, {clip.role}", row[f"{clip.role}_text"] or ""
        said = row[f"{clip.role}_seconds"] or 0.0
        words = len(text.split())
        reason = judge(rules, HeardClip(measures, words)).reason
        if reason:
            gates.offend("clip", f"{name}: {reason}")
        if abs(said - measures.seconds) > SECONDS_TOLERANCE:
            gates.offend("clip_seconds", f"{name}: {measures.seconds:.2f} s, not {said:.2f}")
        target = _loudness_of(dataset, slot, clip.role)
        held_back = measures.peak >= HIGHEST_PEAK - PEAK_TOLERANCE
        too_soft = measures.loudness < target - LOUDNESS_TOLERANCE and not held_back
        if too_soft or measures.loudness > target + LOUDNESS_TOLERANCE:
            gates.offend("clip_loudness", f"{name}: {measures.loudness:.1f} LUFS, not {target:.1f}")
        silence = max(measures.leading_silence, measures.trailing_silence)
        if silence > MARGIN_SECONDS + ENDS_TOLERANCE:
            gates.offend("clip_ends", f"{name}: {silence:.2f} s of silence")
        if texts.setdefault(clip.digest, text) != text:
            gates.offend("clip_twice", f"{name}: another text has the same clip")
        if clip.role == QUERY and of_query.setdefault(slot.query.id, clip.digest) != clip.digest:
            gates.offend("query_clip_not_shared", name)
        if measures.seconds > 0:
            rates.append(words / measures.seconds)
    middle = median(rates) if rates else 0.0
    off = max(SLOWEST_MEDIAN - middle, middle - FASTEST_MEDIAN, 0.0)
    gates.measure("words_per_second_off", off, 0.0, f"the median is {middle:.2f}")


def _of_finished(settings: Mapping[str, RuleSetting]) -> dict[str, RuleSetting]:
    """What a recipe says of rules, for clips that have their style's loudness by now.

    How loud they came is not known any more: a limit above the rule's own would refuse what the
    run kept.
    """
    said = settings.get("silent")
    own = next(rule.limit for rule in CLIP_RULES if rule.name == "silent")
    if isinstance(said, float) and own is not None:
        return dict(settings) | {"silent": min(said, own)}
    return dict(settings)


def _loudness_of(dataset: DatasetFolder, slot: PairSlot, role: str) -> float:
    """The loudness that a clip is to have, LUFS."""
    blueprint = dataset.blueprint
    answered = role == RESPONSE
    manner = blueprint.response_manner(slot) if answered else blueprint.query_manner(slot.query)
    point = manner.point
    return style_loudness(dataset.manifest.voice.loudness, point.valence, point.arousal)


def _clips_of(files: Sequence[Path]) -> Iterator[_Clip]:
    """Every clip of the files, in order: of each row the query's, then the response's."""
    count = os.cpu_count() or 1
    with worker_processes(count, _begin) as pool:
        groups = ((path, n) for path in files for n in range(pq.read_metadata(path).num_row_groups))
        waiting: list[Future[list[_Clip]]] = []
        try:
            for path, group in groups:
                waiting.append(pool.submit(_measured, path, group))
                if len(waiting) > count + AHEAD:
                    yield from waiting.pop(0).result()
            for future in waiting:
                yield from future.result()
        except BrokenProcessPool:
            raise SympatheiaError(
                "A process that measures clips died, perhaps for want of memory. Free some and run "
                "the same command again."
            ) from None


def _begin() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"


def _measured(path: Path, group: int) -> list[_Clip]:
    columns = ["id", f"{QUERY}_audio", f"{RESPONSE}_audio"]
    with pq.ParquetFile(path) as file:
        rows = file.read_row_group(group, columns=columns).to_pylist()
    # The responses to one neutral query share its clip.
    known: dict[str, ClipMeasures] = {}
    clips = []
    for row in rows:
        for role in (QUERY, RESPONSE):
            data = (row[f"{role}_audio"] or {}).get("bytes") or b""
            digest = sha256(data).hexdigest()
            if digest not in known:
                known[digest] = measure_finished(data)
            clips.append(_Clip(row["id"], role, digest, known[digest]))
    return clips
