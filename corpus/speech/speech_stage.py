"""Speech: one clip for every query and every response, each delivered as its anchor asks.

A query is spoken once, at its own emotion, and shared by its pairs; a response is spoken in its
anchor's response style. A voice that takes words gets the style as an instruction, the builtin
voice gets the style's point of the valence-arousal plane.
"""

import asyncio
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Protocol

import orjson

from corpus.errors import SympatheiaError, root_cause
from corpus.plan.blueprint import Blueprint, Manner
from corpus.run.open_run import OpenRun
from corpus.run.stage_tables import Row, read_rows, replace_rejects, write_table
from corpus.sound.clip_audio import ClipMeasures, clip_problem
from corpus.sound.prosody import FEATURES
from corpus.sound.speech_recognition import Listener, require_dnsmos
from corpus.store.digest_store import Records
from corpus.voices.builtin_synthesis import style_loudness
from schemas.prompts import Point
from schemas.slots import PairSlot, QuerySlot
from schemas.tables import CLIPS, SOUND

STAGE = "speech"
MAX_WORD_ERROR_RATE = 0.25
"""What 95 % of the builtin voice's clips stay well below, whatever the style (measured by
`benchmarks/speech_run.py`); one word in four is where a listener loses the sentence."""
MISHEARD = "misheard"
QUERY, RESPONSE = "query", "response"

GIVE_UP_AFTER = 20
"""Clips that may run out of attempts before the stage stops; until then the others are made."""


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """Everything that shapes a clip; exactly one of `style` and `point` is given.

    `loudness` is what the finished clip is brought to, LUFS.
    """

    model: str
    voice: str
    text: str
    language: str
    seed: int
    loudness: float
    style: str | None = None
    point: Point | None = None

    def digest(self) -> str:
        """SHA-256 of the request."""
        plain = {"clip": asdict(self) | {"point": self.point and self.point.model_dump()}}
        return sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip as a voice gave it: FLAC bytes if it could be decoded, and what was measured."""

    flac: bytes | None
    measures: ClipMeasures


class Voice(Protocol):
    """What can make a clip; see `corpus.speech.builtin_voice` and `corpus.speech.served_voice`."""

    model: str
    takes_points: bool

    @property
    def at_once(self) -> int:
        """How many clips may be asked for at a time."""
        ...

    async def speak(self, request: ClipRequest, what: str) -> Clip:
        """Makes one clip; `what` names it in errors."""
        ...


@dataclass(frozen=True, slots=True)
class _ClipSlot:
    id: str
    role: str
    cell: str
    text: str
    voice: str
    manner: Manner


async def speak_all(run: OpenRun, voice: Voice) -> None:
    """Makes every clip that is not in the store, and puts the table of clips on file.

    Clips are listened to in processes of this machine, or by the Dask cluster of the recipe.

    Raises:
        SympatheiaError: clips ran out of attempts, or the voice failed for too long. What was made
            until then is kept, and the refusals are on file.
    """
    stage = _Speaking(run, voice, _sampled(run))
    slots = _slots(run)
    try:
        with stage.listener:
            async with asyncio.TaskGroup() as group:
                for _ in range(await asyncio.to_thread(lambda: voice.at_once)):
                    group.create_task(stage.work(slots))
    except ExceptionGroup as errors:
        raise root_cause(errors) from None
    finally:
        refused = (
            row for slot in _slots(run) for row in stage.refused.get((slot.role, slot.id), ())
        )
        replace_rejects(run.folder.rejects, (STAGE,), refused)
    if stage.exhausted:
        raise SympatheiaError(stage.shortage())
    for path, schema in ((run.folder.clips, CLIPS), (run.folder.sound, SOUND)):
        made = (stage.row_of(slot) for slot in _slots(run))
        write_table(path, schema, ({name: row[name] for name in schema.names} for row in made))


def _sampled(run: OpenRun) -> frozenset[tuple[str, str]]:
    """The clips whose DNSMOS is measured: so many of each cell and role, drawn by the seed."""
    speech, plan = run.blueprint.recipe.speech, run.blueprint.plan
    if not speech.dnsmos_per_cell:
        return frozenset()
    require_dnsmos()
    cells: defaultdict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for slot in _slots(run):
        cells[slot.role, slot.cell].append((plan.seed("dnsmos", slot.id, 0), slot.id))
    return frozenset(
        (role, slot_id)
        for (role, _), drawn in cells.items()
        for _, slot_id in heapq.nsmallest(speech.dnsmos_per_cell, drawn)
    )


def _slots(run: OpenRun) -> Iterator[_ClipSlot]:
    """Every clip of the corpus: each query's, followed by those of its responses."""
    blueprint, responses = run.blueprint, read_rows(run.folder.responses)
    plan = blueprint.plan
    for slot, query in zip(plan.queries(), read_rows(run.folder.queries), strict=True):
        yield query_clip(blueprint, slot, query["text"])
        for pair in plan.pairs_of(slot):
            yield response_clip(blueprint, pair, next(responses)["text"])


def query_clip(blueprint: Blueprint, slot: QuerySlot, text: str) -> _ClipSlot:
    """The clip of a query's text."""
    voice, manner = blueprint.recipe.speech.query_voice, blueprint.query_manner(slot)
    return _ClipSlot(slot.id, QUERY, slot.cell, text, voice, manner)


def response_clip(blueprint: Blueprint, pair: PairSlot, text: str) -> _ClipSlot:
    """The clip of a response's text."""
    voice, manner = blueprint.recipe.speech.response_voice, blueprint.response_manner(pair)
    return _ClipSlot(pair.id, RESPONSE, pair.cell, text, voice, manner)


def clip_request(
    blueprint: Blueprint, model: str, slot: _ClipSlot, attempt: int, *, takes_points: bool
) -> ClipRequest:
    """The request that makes one attempt at one clip, of a voice that takes points or words."""
    speech, point = blueprint.recipe.speech, slot.manner.point
    return ClipRequest(
        model=model,
        voice=slot.voice,
        text=slot.text,
        language=speech.language,
        seed=blueprint.plan.seed(f"speech-{slot.role}", slot.id, attempt),
        loudness=round(style_loudness(speech.loudness, point.valence, point.arousal), 2),
        # The published run closes every style with a full stop.
        style=None if takes_points else f"{slot.manner.style}.",
        point=point if takes_points else None,
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """The accepted clip of a slot: which attempt it was, and how it was heard, if one listened."""

    attempt: int
    digest: str
    error: float | None


class _Speaking:
    """The clips made so far in one run of the stage; its workers share it."""

    def __init__(self, run: OpenRun, voice: Voice, sampled: frozenset[tuple[str, str]]) -> None:
        self._speech = run.blueprint.recipe.speech
        self._run = run
        self._store = run.store
        self._voice = voice
        self._progress = run.progress
        self._sampled = sampled
        self.listener = Listener(run.store, run.blueprint.recipe.compute.dask)
        self.made: dict[tuple[str, str], _Kept] = {}
        self.refused: dict[tuple[str, str], list[Row]] = {}
        self.exhausted: list[tuple[str, str]] = []

    async def work(self, slots: Iterator[_ClipSlot]) -> None:
        """Fills slots until there are none left, or too many stay empty."""
        for slot in slots:
            await self._fill(slot)
            if len(self.exhausted) > GIVE_UP_AFTER:
                return

    async def _fill(self, slot: _ClipSlot) -> None:
        refused: list[Row] = []
        key = slot.role, slot.id
        words = len(slot.text.split())
        for attempt in range(self._speech.max_attempts):
            request = self._request(slot, attempt)
            digest = request.digest()
            measures = await self._measures(request, digest, f"{slot.role} {slot.id}")
            reason = clip_problem(measures, words)
            error = None
            if reason is None and self._speech.asr_check:
                error = await self.listener.word_error_rate(digest, slot.text)
                reason = MISHEARD if error > MAX_WORD_ERROR_RATE else None
            if reason is None:
                if self._speech.prosody:
                    await self.listener.prosody(digest)
                if key in self._sampled:
                    await self.listener.dnsmos(digest)
                self.made[key] = _Kept(attempt, digest, error)
                self._progress.filled(STAGE, slot.cell)
                break
            self._progress.refused(STAGE, slot.cell, reason)
            refused.append(
                {
                    "stage": STAGE,
                    "slot": f"{slot.id}-{slot.role}",
                    "attempt": attempt,
                    "text": slot.text,
                    "reason": reason,
                }
            )
        else:
            self.exhausted.append(key)
        if refused:
            self.refused[key] = refused

    def row_of(self, slot: _ClipSlot) -> Row:
        """What the tables say of a slot's clip; its measures are read back from the store."""
        kept = self.made[slot.role, slot.id]
        measures = ClipMeasures(**self._record(self._store.clip_measures, kept.digest))
        row: Row = dict.fromkeys(FEATURES)
        if self._speech.prosody:
            row |= self._record(self._store.prosody, kept.digest)
            row["rate"] = len(slot.text.split()) / measures.finished_seconds
        sampled = (slot.role, slot.id) in self._sampled
        quality = self._record(self._store.dnsmos, kept.digest)["overall"] if sampled else None
        return row | {
            "id": slot.id,
            "role": slot.role,
            "attempt": kept.attempt,
            "digest": kept.digest,
            "seconds": measures.finished_seconds,
            "word_error_rate": kept.error,
            "valence": slot.manner.point.valence,
            "arousal": slot.manner.point.arousal,
            "loudness": measures.loudness,
            "dnsmos": quality,
        }

    def _record(self, records: Records, digest: str) -> Row:
        record = records.get(digest)
        assert record is not None, "a clip is kept when all that was asked of it is on file"
        return record

    def _request(self, slot: _ClipSlot, attempt: int) -> ClipRequest:
        voice = self._voice
        blueprint, points = self._run.blueprint, voice.takes_points
        return clip_request(blueprint, voice.model, slot, attempt, takes_points=points)

    async def _measures(self, request: ClipRequest, digest: str, what: str) -> ClipMeasures:
        words = len(request.text.split())
        record = self._store.clip_measures.get(digest)
        if record is not None:
            measures = ClipMeasures(**record)
            if clip_problem(measures, words) or digest in self._store.clips:
                return measures
        # Only what a server is asked for counts: the builtin voice speaks at no one's cost.
        served = self._speech.backend == "openai"
        async with self._run.budget.asking() if served else nullcontext():
            return await self._made(request, digest, what, lost=record is not None)

    async def _made(
        self, request: ClipRequest, digest: str, what: str, *, lost: bool
    ) -> ClipMeasures:
        clip = await self._voice.speak(request, what)
        if lost:  # a voice may not say it twice alike
            self._store.forget_clip(digest)
        if clip.flac is not None:
            await asyncio.to_thread(self._store.clips.put, digest, clip.flac)
        self._store.clip_measures.put(digest, asdict(clip.measures))
        return clip.measures

    def shortage(self) -> str:
        """What stayed empty, how often and why."""
        role, slot_id = key = self.exhausted[0]
        reasons = Counter(str(row["reason"]) for row in self.refused[key])
        why = ", ".join(f"{reason} {count}x" for reason, count in reasons.most_common())
        return (
            f"{len(self.exhausted)} clips stayed unusable after {self._speech.max_attempts} "
            f"attempts each; the {role} of {slot_id}, for one, was refused as {why}. Look at the "
            "voice's server, or raise speech.max_attempts, and run the same command again; "
            "everything made is kept."
        )
