"""One attempt at a clip: from the store or from the voice, and what refuses it.

The rules are asked first, then, where the recipe has them, whoever listens to its words, then who
knows the speakers, then the judge that grades how it is delivered.
"""

import asyncio
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace

from corpus.errors import SympatheiaError
from corpus.judge.clip_judge import Asked, ClipJudge
from corpus.judge.readable_answers import UNREADABLE
from corpus.judge.rubrics import DELIVERY
from corpus.run.open_run import OpenRun
from corpus.run.stage_tables import Row
from corpus.run.stop_when_most_refused import FirstVerdicts
from corpus.sound.clip_audio import ClipMeasures
from corpus.sound.clip_rejection_rules import HeardClip, clip_rules, judge
from corpus.sound.speaker_likeness import OTHER_SPEAKER
from corpus.sound.speech_recognition import Listener
from corpus.speech.clip_requests import ClipRequest, ClipSlot, Voice, clip_request
from corpus.speech.speaker_references import SpeakerReferences, reference_slots

POOR_DELIVERY = "judge_delivery"
"""The reason of a clip whose delivery the judge grades below the threshold."""


@dataclass(frozen=True, slots=True)
class Take:
    """An attempt at a slot's clip.

    Attributes:
        attempt: which.
        digest: of the clip's request.
        error: how it was heard, if one listened.
        reason: what refuses it; None if nothing does.
        reported: the rules that would, but only report.
    """

    attempt: int
    digest: str
    error: float | None = None
    reason: str | None = None
    reported: tuple[str, ...] = ()


class Takes:
    """Makes and judges takes, for all workers of the stage.

    Args:
        run: what is spoken.
        voice: makes the clips.
        at_once: how many it may be asked for at a time.
        judge: grades them, if the recipe has one.

    Attributes:
        rules: of clips, as the recipe has them.
        first: the first verdicts of the build.
        listener: hears clips in processes of its own; to be opened by who uses this.
    """

    def __init__(
        self, run: OpenRun, voice: Voice, at_once: int, judge: ClipJudge | None = None
    ) -> None:
        self._run = run
        self._store = run.store
        self._voice = voice
        self._room = asyncio.Semaphore(at_once)
        self._judge = judge
        self._speech = run.blueprint.recipe.speech
        self.rules = clip_rules(self._speech.rules)
        self.first = FirstVerdicts(
            self.rules, "clips", "listen to", "the voice or its server", _remedy
        )
        self.listener = Listener(run.store, run.blueprint.recipe.compute.dask)
        self._references = self._of_the_cast()

    def request(self, slot: ClipSlot, attempt: int) -> ClipRequest:
        """What asks for an attempt at a slot."""
        voice = self._voice
        blueprint, points = self._run.blueprint, voice.takes_points
        return clip_request(blueprint, voice.model, slot, attempt, takes_points=points)

    async def take(self, slot: ClipSlot, attempt: int) -> Take:
        """An attempt at a slot, from the store or from the voice, and what refuses it.

        Raises:
            DamagedClip: the clip is not what was made.
            SympatheiaError: the voice or the judge failed for too long.
        """
        request = self.request(slot, attempt)
        digest = request.digest()
        if struck := self._run.strikes.reason(digest):
            return Take(attempt, digest, reason=struck)
        name = f"{slot.role} {slot.id}"
        measures, made_now = await self._measures(request, digest, name)
        heard = HeardClip(measures, len(slot.text.split()))
        verdict = judge(self.rules, heard)
        if verdict.reason is None and self._speech.asr_check:
            error = await self.listener.word_error_rate(digest, slot.text)
            heard = replace(heard, word_error=error)
            verdict = judge(self.rules, heard)
        if verdict.reason is None and self._references and slot.speaker:
            heard = replace(heard, other_speaker=await self._references.compared(slot, digest))
            verdict = judge(self.rules, heard)
        if verdict.reason is None and self._judge is not None:
            reason = await self._graded(self._judge, slot, digest)
            verdict = replace(verdict, reason=reason)
        if made_now:
            where = measures.problem or self._store.clips.where(digest)
            self.first.add(slot.name, verdict.reason, heard, f"the {name} ({where})")
        else:
            self.first.on_file(slot.name, accepted=verdict.reason is None)
        return Take(attempt, digest, heard.word_error, verdict.reason, verdict.reported)

    def _of_the_cast(self) -> SpeakerReferences | None:
        """What clips are compared with, if speakers are to be told apart."""
        cast, prompts = self._run.blueprint.plan.cast, self._run.blueprint.prompts
        known = prompts.speaker_file
        if cast is None or known is None or len(cast.speakers) < 2:
            return None
        if not self.rules.asks(OTHER_SPEAKER):
            return None
        slots = reference_slots(self._speech, cast.speakers, known.references)
        return SpeakerReferences(slots, self._reference, self.listener.speaker)

    async def _reference(self, slot: ClipSlot) -> str:
        """The digest of a clip of a speaker that others are compared with.

        Raises:
            SympatheiaError: the rules refuse every attempt, or the voice failed for too long.
        """
        reasons: list[str | None] = []
        for attempt in range(self._speech.max_attempts):
            request = self.request(slot, attempt)
            digest = request.digest()
            measures, _ = await self._measures(request, digest, f"{slot.role} {slot.id}")
            heard = HeardClip(measures, len(slot.text.split()))
            reasons.append(judge(self.rules, heard).reason)
            if reasons[-1] is None:
                return digest
        raise SympatheiaError(
            f"The voice cannot speak as {slot.voice}: its clip of '{slot.text}' was refused as "
            f"{', '.join(map(str, reasons))}. Mend the voice or its server, or cast another."
        )

    async def _graded(self, judge: ClipJudge, slot: ClipSlot, digest: str) -> str | None:
        """Why the judge refuses a clip; None if it does not."""
        clip = await asyncio.to_thread(self._store.clips.read, digest)
        # Not for whom it is: the angry are answered calmly, and that is what is to be heard.
        asked = Asked(DELIVERY, emotion="", feeling="", clip=clip, style=slot.manner.style)
        grade = await judge.grade(asked, 0, f"the grade of the {slot.role} {slot.id}")
        if grade.rating is None:
            return UNREADABLE
        return POOR_DELIVERY if grade.rating < self._speech.judge.threshold else None

    async def _measures(
        self, request: ClipRequest, digest: str, name: str
    ) -> tuple[ClipMeasures, bool]:
        """The measures of a clip, and whether the voice made it just now.

        It does where there is no clip that was accepted, or that a loosened rule would keep now.
        """
        record = self._store.clip_measures.get(digest)
        if record is not None:
            measures = ClipMeasures.of(record)
            heard = HeardClip(measures, len(request.text.split()))
            if judge(self.rules, heard).reason or digest in self._store.clips:
                return measures, False
        # Only what a server is asked for counts: the builtin voice speaks at no one's cost.
        served = self._speech.backend == "openai"
        async with self._room, self._run.budget.asking() if served else nullcontext():
            return await self._made(request, digest, name, record), True

    async def _made(
        self, request: ClipRequest, digest: str, name: str, before: Row | None
    ) -> ClipMeasures:
        clip = await self._voice.speak(request, name)
        if before and before["finished_seconds"]:  # a voice may not say it twice alike
            damaged = self._store.clips.damaged(digest, "lost")
            await asyncio.to_thread(self._run.let_go_of_clip, damaged)
        elif before:  # it was refused before it was finished, as 0.2.0 did
            self._store.forget_clip(digest)
        if clip.flac is not None:
            await asyncio.to_thread(self._store.clips.put, digest, clip.flac)
        self._store.clip_measures.put(digest, asdict(clip.measures))
        return clip.measures


def _remedy(reason: str) -> str | None:
    """What to do where the judge refuses most, as an order; None where it was not the judge."""
    if reason == UNREADABLE:
        return "See that speech.judge.model answers as prompts/rubrics asks it to, or set another"
    if reason == POOR_DELIVERY:
        return "If they are good, lower speech.judge.threshold, or set another speech.judge.model"
    return None
