"""What a clip is asked for by: its slot, its request, and what a voice is."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Protocol

import orjson

from corpus.plan.blueprint import Blueprint
from corpus.plan.subsets.subset import Manner
from corpus.sound.clip_audio import ClipMeasures
from corpus.voices.affect_to_prosody import style_loudness
from schemas.prompts import Point
from schemas.slots import PairSlot, QuerySlot

QUERY, RESPONSE = "query", "response"
"""The roles of the two clips of a pair."""


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
class ClipSlot:
    """A place for one clip: which text is spoken, by whom, and how.

    Attributes:
        id: of the query or of the pair.
        role: `QUERY` or `RESPONSE`.
        cell: what is counted together.
        text: what is said.
        voice: who says it.
        manner: how.
        heard_before: names of the clips by whose levels it is decided how, when they are made.
        manner_by: gives the manner by these levels, in dB.
    """

    id: str
    role: str
    cell: str
    text: str
    voice: str
    manner: Manner
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
    voice, manner = blueprint.recipe.speech.query_voice, blueprint.query_manner(slot)
    return ClipSlot(slot.id, QUERY, slot.cell, text, voice, manner)


def response_clip(blueprint: Blueprint, pair: PairSlot, text: str) -> ClipSlot:
    """The clip of a response's text."""
    voice, manner = blueprint.recipe.speech.response_voice, blueprint.response_manner(pair)
    before = tuple(clip_name(name, QUERY) for name in blueprint.room(pair).heard_before(pair))
    manner_by = partial(blueprint.response_manner, pair) if before else None
    return ClipSlot(pair.id, RESPONSE, pair.cell, text, voice, manner, before, manner_by)


def clip_of(blueprint: Blueprint, slot: QuerySlot | PairSlot, text: str) -> ClipSlot:
    """The clip of the text of a slot."""
    if isinstance(slot, QuerySlot):
        return query_clip(blueprint, slot, text)
    return response_clip(blueprint, slot, text)


def clip_request(
    blueprint: Blueprint, model: str, slot: ClipSlot, attempt: int, *, takes_points: bool
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
