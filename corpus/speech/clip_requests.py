"""What a clip is asked for by: its slot, its request, and what a voice is."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Protocol

import orjson

from corpus.plan.blueprint import Blueprint
from corpus.plan.cast import voice_name
from corpus.plan.subsets.subset import Manner
from corpus.sound.clip_audio import ClipMeasures
from corpus.voices.affect_to_prosody import style_loudness
from schemas.prompts import BuiltinSpeaker, Point, Speaker
from schemas.slots import PairSlot, QuerySlot

QUERY, RESPONSE = "query", "response"
"""The roles of the two clips of a pair."""


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """Everything that shapes a clip; exactly one of `style` and `point` is given.

    `loudness` is what the finished clip is brought to, LUFS. `speaker` is who speaks, where the
    builtin voice does and a recipe casts speakers; `design` says of a served model that the style
    begins with the description of who speaks.
    """

    model: str
    voice: str
    text: str
    language: str
    seed: int
    loudness: float
    style: str | None = None
    point: Point | None = None
    speaker: BuiltinSpeaker | None = None
    design: bool = False

    def digest(self) -> str:
        """SHA-256 of the request."""
        clip = asdict(self) | {"point": self.point and self.point.model_dump()}
        # Requests of a corpus without a cast are those of releases that knew of none.
        speaker, design = clip.pop("speaker"), clip.pop("design")
        clip |= {"speaker": speaker.model_dump()} if speaker else {}
        plain = {"clip": clip | ({"design": True} if design else {})}
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
class ClipSlot:
    """A place for one clip: which text is spoken, by whom, and how.

    Attributes:
        id: of the query or of the pair.
        role: `QUERY` or `RESPONSE`.
        cell: what is counted together.
        text: what is said.
        voice: who says it, as the voice knows them.
        manner: how.
        speaker: who says it, if they are cast.
        heard_before: names of the clips by whose levels it is decided how, when they are made.
        manner_by: gives the manner by these levels, in dB.
    """

    id: str
    role: str
    cell: str
    text: str
    voice: str
    manner: Manner
    speaker: Speaker | None = None
    heard_before: tuple[str, ...] = ()
    manner_by: Callable[[Sequence[float]], Manner] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """What the table of rejects calls it."""
        return clip_name(self.id, self.role)

    def by(self, levels: Sequence[float]) -> "ClipSlot":
        """The same, once the levels of the clips are known by which its manner is decided."""
        return replace(self, manner=self.manner_by(levels)) if self.manner_by else self


def clip_name(slot_id: str, role: str) -> str:
    """What the table of rejects calls the clip of a slot."""
    return f"{slot_id}-{role}"


def query_clip(blueprint: Blueprint, slot: QuerySlot, text: str) -> ClipSlot:
    """The clip of a query's text."""
    speech, speaker = blueprint.recipe.speech, blueprint.plan.query_speaker(slot)
    voice = voice_name(speech, speaker) if speaker else speech.query_voice
    return ClipSlot(slot.id, QUERY, slot.cell, text, voice, blueprint.query_manner(slot), speaker)


def response_clip(blueprint: Blueprint, pair: PairSlot, text: str) -> ClipSlot:
    """The clip of a response's text."""
    speech, speaker = blueprint.recipe.speech, blueprint.plan.response_speaker(pair)
    before = tuple(clip_name(name, QUERY) for name in blueprint.room(pair).heard_before(pair))
    return ClipSlot(
        pair.id,
        RESPONSE,
        pair.cell,
        text,
        voice_name(speech, speaker) if speaker else speech.response_voice,
        blueprint.response_manner(pair),
        speaker,
        before,
        partial(blueprint.response_manner, pair) if before else None,
    )


def clip_of(blueprint: Blueprint, slot: QuerySlot | PairSlot, text: str) -> ClipSlot:
    """The clip of the text of a slot."""
    if isinstance(slot, QuerySlot):
        return query_clip(blueprint, slot, text)
    return response_clip(blueprint, slot, text)


def clip_request(
    blueprint: Blueprint, model: str, slot: ClipSlot, attempt: int, *, takes_points: bool
) -> ClipRequest:
    """The request that makes one attempt at one clip, of a voice that takes points or words."""
    speech, point, speaker = blueprint.recipe.speech, slot.manner.point, slot.speaker
    design = speech.voice_design and speaker is not None
    # The published run closes every style with a full stop.
    style = f"{slot.manner.style}."
    if design and speaker:
        style = f"{speaker.description} {style}"
    return ClipRequest(
        model=model,
        voice=slot.voice,
        text=slot.text,
        language=speech.language,
        seed=blueprint.plan.seed(f"speech-{slot.role}", slot.id, attempt),
        loudness=round(style_loudness(speech.loudness, point.valence, point.arousal), 2),
        style=None if takes_points else style,
        point=point if takes_points else None,
        speaker=speaker.builtin if speaker and takes_points else None,
        design=design,
    )
