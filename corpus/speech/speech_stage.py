"""Speech: one clip for every query and every response, each delivered as its anchor asks.

A query is spoken once, at its own emotion, and shared by its pairs; a response is spoken in its
anchor's response style. A voice that takes words gets the style as an instruction, the builtin
voice gets the style's point of the valence-arousal plane.

A voice need not wait for the last text: it speaks what is accepted as it comes, and goes through
all texts, in their order, when they are on file. No clip depends on another, so nothing of this
shows in what is made.

A clip that was accepted stays while its request does and the rules keep it, so that a loosened rule
changes nothing that stands. Else attempts are judged in their order, from the store as far as they
are there.
"""

import asyncio
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

from corpus.errors import SympatheiaError, root_cause
from corpus.judge.clip_judge import ClipJudge
from corpus.judge.readable_answers import UNREADABLE
from corpus.plan.blueprint import Blueprint
from corpus.run.open_run import OpenRun
from corpus.run.stage_tables import Row, read_rows, replace_rejects, write_table
from corpus.run.strikes import Strike
from corpus.sound.clip_audio import ClipMeasures
from corpus.sound.dnsmos import require_dnsmos
from corpus.sound.prosody import FEATURES
from corpus.speech.accepted_texts import LOOK_EVERY_SECONDS, AcceptedTexts
from corpus.speech.clip_requests import (
    QUERY,
    RESPONSE,
    ClipSlot,
    Voice,
    clip_of,
    query_clip,
    response_clip,
)
from corpus.speech.takes import Take, Takes
from corpus.store.clips import DamagedClip
from schemas.tables import CLIPS, SOUND

STAGE = "speech"

GIVE_UP_AFTER = 20
"""Clips that may run out of attempts before the stage stops; until then the others are made."""

UNSPEAKABLE_CLIP = "unspeakable_clip"
"""The reason of a text that the voice cannot say."""
BLAMED_SHARE = 0.25
"""Of all clips, those that may run out of attempts for their texts to be blamed; where more do, the
voice is."""


async def speak_all(
    run: OpenRun,
    voice: Voice,
    accepted: AcceptedTexts | None = None,
    judge: ClipJudge | None = None,
) -> bool:
    """Makes every clip that is not in the store, and puts the table of clips on file.

    Clips are listened to in processes of this machine, or by the Dask cluster of the recipe.

    Args:
        run: whose texts are on file, or will be when `accepted` ends.
        voice: makes the clips.
        accepted: texts to be spoken before, if they are still being written.
        judge: grades the clips, if the recipe has one.

    Returns:
        Whether that is done. If not, the voice could not say some texts, each for one and the same
        rule in every attempt: they are struck, for the text stage to write others.

    Raises:
        SympatheiaError: clips ran out of attempts, one rule refused most of the first ones, or the
            voice failed for too long. What was made until then is kept, and the refusals are on
            file.
    """
    at_once = await asyncio.to_thread(lambda: voice.at_once)
    takes = Takes(run, voice, at_once, judge)
    stage = _Speaking(run, takes, _sampled(run))
    turns = _Turns(run, accepted, stage)
    # The voice goes on with others while a judge listens.
    workers = at_once + (run.blueprint.recipe.speech.judge.concurrency if judge else 0)
    try:
        with stage.listener:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(stage.work(turns))
    except ExceptionGroup as errors:
        raise root_cause(errors) from None
    finally:
        run.store.sync()  # tables must not outlive what they rest on
        places = _places(run.blueprint)
        refused = (row for place in places for row in stage.refused.get(place.name, ()))
        replace_rejects(run.folder.rejects, (STAGE,), refused)
    if stage.blames_texts():
        run.strikes.add(_strikes(run, stage))
        return False
    if shortage := stage.shortage():
        raise SympatheiaError(shortage)
    for path, schema in ((run.folder.clips, CLIPS), (run.folder.sound, SOUND)):
        made = (stage.row_of(slot) for slot in _slots(run))
        write_table(path, schema, ({name: row[name] for name in schema.names} for row in made))
    return True


def _strikes(run: OpenRun, stage: "_Speaking") -> list[Strike]:
    """The strikes of the texts whose clips ran out of attempts, in slot order."""
    rules = {slot.name: stage.refused[slot.name][0]["reason"] for slot in stage.exhausted}
    rows = {QUERY: read_rows(run.folder.queries), RESPONSE: read_rows(run.folder.responses)}
    return [
        Strike(row["digest"], UNSPEAKABLE_CLIP, place.id, f"{rules[place.name]} in every attempt")
        for place in _places(run.blueprint)
        for row in (next(rows[place.role]),)
        if place.name in rules
    ]


def _sampled(run: OpenRun) -> frozenset[str]:
    """The names of clips whose DNSMOS is measured: so many a cell and role, drawn by the seed."""
    speech, plan = run.blueprint.recipe.speech, run.blueprint.plan
    if not speech.dnsmos_per_cell:
        return frozenset()
    require_dnsmos()
    cells: defaultdict[tuple[str, str], list[tuple[int, str, str]]] = defaultdict(list)
    for place in _places(run.blueprint):
        drawn = plan.seed("dnsmos", place.id, 0), place.id, place.name
        cells[place.role, place.cell].append(drawn)
    return frozenset(
        name
        for drawn in cells.values()
        for _, _, name in heapq.nsmallest(speech.dnsmos_per_cell, drawn)
    )


def _places(blueprint: Blueprint) -> Iterator[ClipSlot]:
    """Every clip of the corpus, without what is said in it: each query's, then its responses'."""
    for slot in blueprint.plan.queries():
        yield query_clip(blueprint, slot, "")
        for pair in blueprint.plan.pairs_of(slot):
            yield response_clip(blueprint, pair, "")


def _slots(run: OpenRun) -> Iterator[ClipSlot]:
    """Every clip of the corpus, by the texts on file, in the order of `_places`."""
    texts = {QUERY: read_rows(run.folder.queries), RESPONSE: read_rows(run.folder.responses)}
    for place in _places(run.blueprint):
        yield replace(place, text=next(texts[place.role])["text"])


class _Turns:
    """What is to be spoken, slot by slot: texts as they are accepted, then all others in order."""

    def __init__(self, run: OpenRun, accepted: AcceptedTexts | None, stage: "_Speaking") -> None:
        self._blueprint = run.blueprint
        self._stage = stage
        self._accepted = accepted
        self._begun: set[str] = set()
        self._slots = _slots(run)
        self._one_at_a_time = asyncio.Lock()
        self.stopped = False

    async def next(self) -> ClipSlot | None:
        """The next slot, for whichever worker asks first; None when there are no more."""
        async with self._one_at_a_time:
            while not self.stopped:
                all_written = self._accepted is None or self._accepted.ended
                if slot := self._accepted_now():
                    self._begun.add(slot.name)
                    return slot
                if all_written:
                    return next((s for s in self._slots if s.name not in self._begun), None)
                await asyncio.sleep(LOOK_EVERY_SECONDS)
        return None

    def _accepted_now(self) -> ClipSlot | None:
        while found := self._accepted.take() if self._accepted else None:
            slot = clip_of(self._blueprint, *found)
            # What has to be heard before may have found no room here, and never come. Later, when
            # all are taken in order, it has been begun.
            if self._stage.heard(slot):
                return slot
        return None


class _Speaking:
    """The clips made so far in one run of the stage; its workers share it."""

    def __init__(self, run: OpenRun, takes: Takes, sampled: frozenset[str]) -> None:
        self._speech = run.blueprint.recipe.speech
        self._run = run
        self._store = run.store
        self._takes = takes
        self._first = takes.first
        self._progress = run.progress
        self._sampled = sampled
        self.listener = takes.listener
        self._accepted, self.refused = _on_file(run)
        self.made: dict[str, Take] = {}
        self._done: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.exhausted: list[ClipSlot] = []

    async def work(self, turns: _Turns) -> None:
        """Fills slots until there are none left, too many stay empty, or all goes one way."""
        while (slot := await turns.next()) is not None:
            for name in slot.heard_before:
                await self._done[name].wait()
            decided = self.decided(slot)
            try:
                await self._fill(decided)
            except DamagedClip as damaged:  # by what listened to it
                await asyncio.to_thread(self._run.let_go_of_clip, damaged)
                await self._fill(decided)
            self._done[slot.name].set()
            if self._first.culprit or len(self.exhausted) > GIVE_UP_AFTER:
                turns.stopped = True

    def heard(self, slot: ClipSlot) -> bool:
        """Whether the clips are made by which it is decided how a slot's text is spoken."""
        return all(name in self.made for name in slot.heard_before)

    def decided(self, slot: ClipSlot) -> ClipSlot:
        """A slot with its manner, once all are made by which it is decided."""
        there = (self.made[name].digest for name in slot.heard_before if name in self.made)
        return slot.by([self._store.clip_measures.require(digest)["level"] for digest in there])

    async def _fill(self, slot: ClipSlot) -> None:
        take = await self._accepted_before(slot)
        if take is None:
            take = await self._next(slot)
        if take is None:
            self.exhausted.append(slot)
            return
        if self._speech.prosody:
            await self.listener.prosody(take.digest)
        if slot.name in self._sampled:
            await self.listener.dnsmos(take.digest)
        self.made[slot.name] = take
        self._progress.reported(STAGE, take.reported)
        self._progress.filled(STAGE, slot.cell)

    async def _accepted_before(self, slot: ClipSlot) -> Take | None:
        """The take that the slot had when the stage last ended, if it still stands."""
        before = self._accepted.get(slot.name)
        if self._one_is_back(slot):
            return None
        if not before or self._takes.request(slot, before.attempt).digest() != before.digest:
            return None
        if before.digest not in self._store.clip_measures:  # the store is another one
            return None
        take = await self._takes.take(slot, before.attempt)
        if take.reason:
            return None
        rows = self.refused.pop(slot.name, [])
        self._refuse(slot, [row for row in rows if row["attempt"] < take.attempt])
        return take

    def _one_is_back(self, slot: ClipSlot) -> bool:
        """Whether a clip of the slot that was struck in review is struck no more."""
        return any(
            self._run.strikes.taken_back(
                self._takes.request(slot, row["attempt"]).digest(), row["reason"]
            )
            for row in self.refused.get(slot.name, ())
        )

    async def _next(self, slot: ClipSlot) -> Take | None:
        """The first take that the rules keep; None if they refuse all that may be made."""
        self.refused.pop(slot.name, None)
        for attempt in range(self._speech.max_attempts):
            take = await self._takes.take(slot, attempt)
            if take.reason is None:
                return take
            note = self._run.strikes.note(take.digest)
            facts = {"slot": slot.name, "attempt": attempt, "text": slot.text, "note": note}
            self._refuse(slot, [{"stage": STAGE, **facts, "reason": take.reason}])
            if self._first.culprit:
                break
        return None

    def _refuse(self, slot: ClipSlot, rows: list[Row]) -> None:
        for row in rows:
            self._progress.refused(STAGE, slot.cell, row["reason"])
        if rows:
            self.refused.setdefault(slot.name, []).extend(rows)

    def row_of(self, slot: ClipSlot) -> Row:
        """What the tables say of a slot's clip; its measures are read back from the store."""
        slot = self.decided(slot)
        kept = self.made[slot.name]
        measures = ClipMeasures.of(self._store.clip_measures.require(kept.digest))
        row: Row = dict.fromkeys(FEATURES)
        if self._speech.prosody:
            row |= self._store.prosody.require(kept.digest)
            row["rate"] = len(slot.text.split()) / measures.finished_seconds
        sampled = slot.name in self._sampled
        quality = self._store.dnsmos.require(kept.digest)["overall"] if sampled else None
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

    def blames_texts(self) -> bool:
        """Whether what stayed empty is to be laid at the texts' door.

        It is where all attempts at a clip broke one rule, and the voice says other texts well.
        """
        few = 0 < len(self.exhausted) <= BLAMED_SHARE * (len(self.exhausted) + len(self.made))
        if self._first.culprit or not few or len(self.exhausted) > GIVE_UP_AFTER:
            return False
        reasons = ({row["reason"] for row in self.refused[slot.name]} for slot in self.exhausted)
        return all(len(found) == 1 and UNREADABLE not in found for found in reasons)

    def shortage(self) -> str | None:
        """What stayed empty, how often and why; None if nothing did."""
        if self._first.culprit:
            return self._first.sentence()
        if not self.exhausted:
            return None
        slot = self.exhausted[0]
        reasons = Counter(str(row["reason"]) for row in self.refused[slot.name])
        why = ", ".join(f"{reason} {count}x" for reason, count in reasons.most_common())
        return (
            f"{len(self.exhausted)} clips stayed unusable after {self._speech.max_attempts} "
            f"attempts each; the {slot.role} of {slot.id}, for one, was refused as {why}. Look at "
            f"the voice's server and at {self._takes.rules.key}, or raise speech.max_attempts, and "
            "run the same command again; everything made is kept."
        )


def _on_file(run: OpenRun) -> tuple[dict[str, Take], dict[str, list[Row]]]:
    """By name of slot, the take that was accepted when the stage last ended, and the refusals.

    Of the takes only those that are not a slot's first, which comes first anyway.
    """
    accepted: dict[str, Take] = {}
    refused: defaultdict[str, list[Row]] = defaultdict(list)
    if run.folder.clips.exists() and run.folder.rejects.exists():
        for row in read_rows(run.folder.clips):
            if row["attempt"]:
                accepted[f"{row['id']}-{row['role']}"] = Take(row["attempt"], row["digest"])
        for row in read_rows(run.folder.rejects):
            if row["stage"] == STAGE:
                refused[row["slot"]].append(row)
    return accepted, refused
