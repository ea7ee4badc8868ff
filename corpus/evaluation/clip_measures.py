"""What is measured of each clip: its prosody, the words that are heard, how natural it sounds.

Each is kept in the store under the SHA-256 of the sound file and the name of what measured it, so
a clip that several systems or evaluations have is measured once.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Literal

import pandas as pd

from corpus.evaluation.systems import System
from corpus.evaluation.workbench import Workbench
from corpus.sound.naturalness import naturalness, require_predictor
from corpus.sound.prosody import FEATURES, prosody
from corpus.sound.sound_files import Undecodable, samples_at
from corpus.sound.speech_recognition import transcribe
from corpus.store.append_only_records import Records
from schemas.audio import SAMPLE_RATE
from schemas.recipe_evaluation import DISTILLMOS

Kind = Literal["prosody", "words", "naturalness"]
STAGE = "clips"
NICENESS = 15
BUNDLED_ASR = "whisper-tiny.en"
SECONDS, HEARD, MOS, PROBLEM = "seconds", "heard", "mos", "problem"
"""Columns that are added to a system's rows, beside the features of prosody."""
NO_SOUND, UNDECODABLE = "no_sound", "undecodable"
"""Problems of a response."""

_RATE = "rate"


@dataclass(frozen=True, slots=True)
class _Meter:
    """One kind of measure: what is computed, under which name it is kept, and where."""

    kind: Kind
    digest_of: Callable[[str], str]
    records: Records
    argument: str


def predictor(bench: Workbench) -> str:
    """The name of what predicts naturalness."""
    return bench.settings.mos or DISTILLMOS


def measured(system: System, kinds: frozenset[Kind], bench: Workbench) -> pd.DataFrame:
    """A system's rows with what its clips measure.

    Returns:
        The rows with `seconds`, the features of prosody (rate in words a second), `heard`, `mos`
        and `problem`; null what was not asked for or cannot be had.

    Raises:
        InvalidInput: a model cannot be loaded.
        SympatheiaError: a table is damaged, or a process that measures died.
    """
    if "naturalness" in kinds:
        require_predictor(predictor(bench))
    meters = _meters(kinds, bench)
    found: dict[str, dict[str, Any]] = {}
    texts = dict(zip(system.rows["id"], system.rows["text"], strict=True))
    for row_id, made in bench.ahead(_begun(system, meters, bench, found)):
        row = found[row_id]
        if made and PROBLEM in made:
            row[PROBLEM] = UNDECODABLE
        else:
            for meter in meters:
                key = meter.digest_of(row["sha"])
                if made and meter.kind in made:
                    meter.records.put(key, made[meter.kind])
                row |= _columns(meter.kind, meter.records.require(key), texts[row_id])
        bench.progress.filled(STAGE, system.name)
    columns = [SECONDS, *FEATURES, HEARD, MOS, PROBLEM]
    table = pd.DataFrame.from_dict(found, orient="index").reindex(
        index=system.rows.index, columns=columns
    )
    table[PROBLEM] = table[PROBLEM].where(table.index.isin(found), NO_SOUND)
    return system.rows.join(table)


def _meters(kinds: frozenset[Kind], bench: Workbench) -> list[_Meter]:
    store, mos, asr = bench.store, predictor(bench), bench.settings.asr

    def named(name: str) -> Callable[[str], str]:
        return lambda sha: sha256(f"{name} {sha}".encode()).hexdigest()

    meters = [
        _Meter("prosody", named("prosody"), store.prosody, ""),
        _Meter("words", named(asr or BUNDLED_ASR), store.transcripts, asr),
        _Meter("naturalness", named(mos), store.naturalness, mos),
    ]
    return [meter for meter in meters if meter.kind in kinds]


def _begun(
    system: System, meters: Sequence[_Meter], bench: Workbench, found: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, "Future[dict[str, Any]] | None"]]:
    """The calls that measure the clips of a system, each begun when it is asked for."""
    for row_id, sound in system.sounds(set(system.rows["id"])):
        sha = sha256(sound).hexdigest()
        found[row_id] = {"sha": sha, PROBLEM: None}
        missing = [m for m in meters if m.digest_of(sha) not in m.records]
        asked = tuple((meter.kind, meter.argument) for meter in missing)
        yield row_id, bench.workers.submit(measure_clip, sound, asked) if asked else None


def _columns(kind: Kind, record: dict[str, Any], text: str | None) -> dict[str, Any]:
    if kind == "words":
        return {HEARD: record["text"]}
    if kind == "naturalness":
        return {MOS: record["mos"]}
    words = len(text.split()) if isinstance(text, str) else 0
    seconds = record[SECONDS]
    return record | {_RATE: words / seconds if words and seconds else None}


# What follows runs in the workers.


def begin() -> None:
    """What a process that measures does first."""
    os.nice(NICENESS)
    os.environ["OMP_NUM_THREADS"] = "1"  # there is a process for every core


def measure_clip(sound: bytes, asked: Sequence[tuple[Kind, str]]) -> dict[str, Any]:
    """The records that are asked for of a sound file, or the problem with it."""
    try:
        return {kind: _record(kind, sound, argument) for kind, argument in asked}
    except Undecodable as error:
        return {PROBLEM: str(error)}


def _record(kind: Kind, sound: bytes, argument: str) -> dict[str, Any]:
    if kind == "words":
        return transcribe(sound, argument)
    if kind == "naturalness":
        return {"mos": naturalness(sound, argument)}
    samples = samples_at(sound, SAMPLE_RATE)  # one rate for all systems
    return asdict(prosody(samples)) | {SECONDS: len(samples) / SAMPLE_RATE}
