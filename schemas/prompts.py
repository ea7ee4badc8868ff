"""What a prompts folder holds: anchors, topics and the wording rules, as validated models."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StrictFloat,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from schemas.recipe_values import bad_character

ROLE_LINE = re.compile(r"^\[\[(system|user|assistant)\]\]\s*$", re.MULTILINE)
"""Opens a message of a rendered template."""

CLASH = "clash"
"""The type of an error that lies between two entries, each of which would do by itself."""


def _readable(text: str) -> str:
    if not text.strip():
        raise ValueError("it holds no text")
    if found := bad_character(text):
        raise ValueError(f"it holds {found}")
    if ROLE_LINE.search(text):
        raise ValueError("it holds a line that opens a message; such lines are for templates")
    return text


Coordinate = Annotated[StrictFloat, Field(ge=-1.0, le=1.0)]
Text = Annotated[str, AfterValidator(_readable)]
AnchorName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Clash = tuple[tuple[str | int, ...], str]
"""Where an entry lies that another one rules out, and why."""


def _clash(words: str) -> PydanticCustomError:
    """The error of a clash; half a character in a name would keep pydantic from showing it."""
    shown = words.encode(errors="backslashreplace").decode()
    return PydanticCustomError(CLASH, "{words}", {"words": shown})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _File(_Strict):
    """A file whose entries may clash, which is told together with all that is wrong in them."""

    @classmethod
    def _clashes(cls, data: dict[str, Any]) -> Iterator[Clash]:
        """Finds clashes in what is not validated yet, so any of it may have another type."""
        raise NotImplementedError

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        found = cls._clashes(data) if isinstance(data, dict) else ()
        clashes = [
            InitErrorDetails(type=_clash(words), loc=loc, input=None) for loc, words in found
        ]
        try:
            made = handler(data)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                cls.__name__,
                [*error.errors(), *clashes],  # type: ignore[list-item]
            ) from None
        if clashes:
            raise ValidationError.from_exception_data(cls.__name__, clashes)
        return made


class Point(_Strict):
    """A point of the valence-arousal plane; both coordinates lie in [-1, 1]."""

    valence: Coordinate
    arousal: Coordinate


class Example(_Strict):
    """One exchange in an anchor's emotion, shown to small models as a turn to continue."""

    topic: Text
    query: Text
    response: Text


class Anchor(_Strict):
    """One emotion: where it lies, how it sounds, and how to answer someone who feels it.

    `query_style` and `response_style` are the instructions a styled voice gets, without the
    closing full stop. `response_delivery` is where `response_style` lies on the plane, for voices
    that take a point instead of words.
    """

    name: AnchorName
    valence: Coordinate
    arousal: Coordinate
    query_style: Text
    response_style: Text
    response_delivery: Point
    feeling: Text
    goal: Text
    cues: tuple[Text, ...] = Field(min_length=1)
    avoid: tuple[Text, ...] = Field(min_length=1)
    required_words: tuple[Text, ...] = Field(
        description="A response must contain one of these; empty when any wording will do."
    )
    examples: tuple[Example, ...] = Field(min_length=2)

    @property
    def point(self) -> Point:
        """The anchor's own place on the plane."""
        return Point(valence=self.valence, arousal=self.arousal)


class NeutralQuery(_Strict):
    """How the queries of the neutral subset sound, and examples of them for small models."""

    style: Text
    delivery: Point
    examples: tuple[Example, ...] = Field(min_length=2)


class AnchorFile(_File):
    """`anchors.yaml`: every anchor in corpus order, label aliases, and the neutral query."""

    neutral_query: NeutralQuery
    aliases: dict[Text, AnchorName] = Field(
        description="Labels of other datasets and the anchor each stands for."
    )
    anchors: tuple[Anchor, ...] = Field(min_length=1)

    @classmethod
    def _clashes(cls, data: dict[str, Any]) -> Iterator[Clash]:
        names: set[str] = set()
        points: dict[tuple[float, float], str] = {}
        anchors = data.get("anchors")
        for place, anchor in enumerate(anchors if isinstance(anchors, (list, tuple)) else ()):
            if not isinstance(anchor, dict) or not isinstance(name := anchor.get("name"), str):
                continue
            if name in names:
                yield ("anchors", place, "name"), f"two anchors are named '{name}'"
            names.add(name)
            valence, arousal = anchor.get("valence"), anchor.get("arousal")
            if not isinstance(valence, (int, float)) or not isinstance(arousal, (int, float)):
                continue
            if other := points.get((valence, arousal)):
                words = f"anchors '{other}' and '{name}' lie at the same point"
                yield ("anchors", place), words
            points[valence, arousal] = name
        aliases = data.get("aliases")
        if names and isinstance(aliases, dict):
            yield from _alias_clashes(aliases, names)


def _alias_clashes(aliases: dict[Any, Any], names: set[str]) -> Iterator[Clash]:
    """Labels are looked up in any case, so they may not differ in case alone."""
    meant: dict[str, str] = {}
    for label, name in aliases.items():
        if not isinstance(label, str) or not isinstance(name, str):
            continue
        place, lower = ("aliases", label), label.lower()
        if name not in names:
            yield place, f"it stands for '{name}', which is not an anchor"
        elif lower in names and lower != name:
            yield place, f"'{lower}' is itself an anchor, so it may not stand for '{name}'"
        elif meant.setdefault(lower, name) != name:
            yield place, f"'{lower}' stands for '{meant[lower]}' already"


class Trajectory(_Strict):
    """How a user's feeling goes through a dialogue: from the first anchor to the last."""

    name: AnchorName
    path: tuple[AnchorName, ...] = Field(
        min_length=2, description="Anchors, in order; the turns lie on the lines between them."
    )


class DeliveryStyle(_Strict):
    """How something is spoken: the words for styled voices, and the point for others."""

    style: Text
    delivery: Point


class Deliveries(_Strict):
    """How a response is spoken by how loud the user's turns were until then."""

    falling: DeliveryStyle
    rising: DeliveryStyle
    steady: DeliveryStyle


class TrajectoryFile(_File):
    """`trajectories.yaml`: how dialogues go."""

    trajectories: tuple[Trajectory, ...] = Field(min_length=1)
    deliveries: Deliveries

    @classmethod
    def _clashes(cls, data: dict[str, Any]) -> Iterator[Clash]:
        names: set[str] = set()
        entries = data.get("trajectories")
        for place, entry in enumerate(entries if isinstance(entries, (list, tuple)) else ()):
            name = entry.get("name") if isinstance(entry, dict) else None
            if isinstance(name, str) and name in names:
                yield ("trajectories", place, "name"), f"two trajectories are named '{name}'"
            names.add(str(name))


class TopicFile(_File):
    """`topics.yaml`: everyday topics in named groups; order is the corpus's order."""

    groups: dict[Text, Annotated[tuple[Text, ...], Field(min_length=1)]] = Field(min_length=1)

    @classmethod
    def _clashes(cls, data: dict[str, Any]) -> Iterator[Clash]:
        seen: dict[str, str] = {}
        groups = data.get("groups")
        for group, topics in groups.items() if isinstance(groups, dict) else ():
            for place, topic in enumerate(topics if isinstance(topics, (list, tuple)) else ()):
                if not isinstance(topic, str):
                    continue
                plain = " ".join(unicodedata.normalize("NFKC", topic).casefold().split())
                if plain in seen:
                    as_well = "" if topic == seen[plain] else f", as '{seen[plain]}'"
                    yield ("groups", group, place), f"topic '{topic}' is listed twice{as_well}"
                seen.setdefault(plain, topic)

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics, group after group."""
        return tuple(topic for group in self.groups.values() for topic in group)


class BuiltinSpeaker(_Strict):
    """How the builtin voice makes a speaker: what is changed of it, as `speakers.yaml` explains."""

    semitones: Annotated[StrictFloat, Field(ge=-16.0, le=12.0)]
    formants: Annotated[StrictFloat, Field(ge=0.7, le=1.4)]
    pitch_range: Annotated[StrictFloat, Field(ge=0.3, le=2.0)] = 1.0
    rate: Annotated[StrictFloat, Field(ge=0.7, le=1.3)] = 1.0
    tilt: Annotated[StrictFloat, Field(ge=-3.0, le=3.0)] = 0.0
    breathiness: Annotated[StrictFloat, Field(ge=0.0, le=0.6)] = 0.0
    nasality: Annotated[StrictFloat, Field(ge=0.0, le=12.0)] = 0.0
    roughness: Annotated[StrictFloat, Field(ge=0.0, le=1.0)] = 0.0


class Speaker(_Strict):
    """Someone who may be cast: who they are, and how each kind of voice makes them."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    gender: Literal["female", "male"]
    age: Literal["child", "young", "middle-aged", "elderly"]
    timbre: Literal["low", "mid", "high"]
    served: Text | None = None
    description: Text
    builtin: BuiltinSpeaker


class References(_Strict):
    """What every speaker says once in each manner, for their clips to be compared with."""

    texts: tuple[Text, ...] = Field(min_length=1)
    manners: tuple[DeliveryStyle, ...] = Field(min_length=1)


class SpeakerFile(_File):
    """`speakers.yaml`: everyone who may be cast; a recipe names those of its corpus."""

    references: References
    speakers: tuple[Speaker, ...] = Field(min_length=1)

    @classmethod
    def _clashes(cls, data: dict[str, Any]) -> Iterator[Clash]:
        names: set[str] = set()
        speakers = data.get("speakers")
        for place, speaker in enumerate(speakers if isinstance(speakers, (list, tuple)) else ()):
            name = speaker.get("name") if isinstance(speaker, dict) else None
            if isinstance(name, str) and name in names:
                yield ("speakers", place, "name"), f"two speakers are named '{name}'"
            names.add(str(name))


_NUMBER = (
    r"(?:\d[\d.,]*|half an?|one|two|three|four|five|six|seven|eight|ten|twelve|twenty|fifty"
    r"|an?(?=\s+(?:hundred|thousand)\b)|a couple of|a few|several)(?:\s+(?:hundred|thousand))?"
)
_TAKES_BACK = r"(?:not|no|never|hardly|nobody|\w+n't)\b"
_SIGNS = {
    **{"#": _NUMBER, "(": "(?:", ")": ")", "|": "|", "?": "?", " ": r"\s+"},
    **{"... ": rf"(?:(?!{_TAKES_BACK})[\w'-]+\s+){{0,4}}"},
    **{"^": r"(?:^|(?<=[.!?,;:] ))", "$": r"(?=[.!?,;:]|$)"},
}
"""What the signs of a phrase stand for in its regular expression."""
_SIGN = re.compile(r"(<[^<>]*>(?:\? )?|\.\.\. |[#()| ?^$])")

_NAMED = re.compile(r"<([^<>]*)>")
_OPTIONAL_NOTHING = re.compile(r"(?<![)>])\?")


class Phrases(_Strict):
    """What does harm, in phrases whose signs are told in the bundled `rules.yaml`."""

    words: dict[str, tuple[Text, ...]] = Field(
        default={}, description="Words that phrases name together, as in <name>."
    )
    insults: tuple[Text, ...] = Field(
        default=(), description="What puts someone down or threatens them; no text has it."
    )
    self_harm: tuple[Text, ...] = Field(
        default=(), description="What talks someone into harming themselves; no text has it."
    )
    belittling: tuple[Text, ...] = Field(
        default=(), description="What makes little of how someone feels; no text has it."
    )
    medical: tuple[Text, ...] = Field(
        default=(), description="Doses and diagnoses; a response gives neither."
    )

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        # Not by compiling them, which takes longer than all else that a command begins with.
        for phrase in (*self.insults, *self.self_harm, *self.belittling, *self.medical):
            unknown = [name for name in _NAMED.findall(phrase) if name not in self.words]
            if unknown:
                raise ValueError(f"'{phrase}' names words that there are not: '{unknown[0]}'")
            depths = [*accumulate((c == "(") - (c == ")") for c in phrase), 0]
            if min(depths) < 0 or depths[-2:-1] > [0]:
                raise ValueError(f"'{phrase}' has parentheses that do not match")
            if _OPTIONAL_NOTHING.search(phrase):
                raise ValueError(f"'{phrase}' has a '?' that does not follow a ')' or '>'")
        return self

    @cached_property
    def of_queries(self) -> re.Pattern[str]:
        """Finds what a query may not have, in lower case: any case would take twice the time."""
        return self._any_of(self.insults + self.self_harm + self.belittling)

    @cached_property
    def of_responses(self) -> re.Pattern[str]:
        """Finds what a response may not have, in lower case."""
        return self._any_of(self.insults + self.self_harm + self.belittling + self.medical)

    def _any_of(self, phrases: tuple[str, ...]) -> re.Pattern[str]:
        # Without a phrase nothing is found, for no text goes on behind its end.
        any_of = "|".join(map(self._pattern, phrases)) or r"\Z."
        return re.compile(rf"(?<!\w)(?:{any_of})(?!\w)")

    def _pattern(self, phrase: str) -> str:
        """The regular expression of a phrase."""
        return "".join(map(self._sign, _SIGN.split(phrase)))

    def _sign(self, part: str) -> str:
        if not part.startswith("<"):
            return _SIGNS.get(part) or re.escape(part)
        name = part[1 : part.index(">")]
        any_of = "|".join(self._pattern(word) for word in self.words[name])
        return rf"(?:(?:{any_of})\s+)*" if part.endswith("? ") else f"(?:{any_of})"


class RuleFile(_Strict):
    """`rules.yaml`: the word lists that the text rules look for, lower case.

    A folder of an earlier release has no phrases of what does harm, and finds none of it.
    """

    meta_openings: tuple[Text, ...] = Field(
        description="Openings by which a model talks about its answer instead of giving it."
    )
    role_labels: tuple[Text, ...] = Field(description="Labels of a speaker before a colon.")
    assistant_lines: tuple[Text, ...] = Field(
        description="What only the one who helps would say; a query has none of them."
    )
    user_lines: tuple[Text, ...] = Field(
        description="What only the one who asks would say; a response has none of them."
    )
    emotion_words: tuple[Text, ...] = Field(
        description="Words that name or show a feeling; a neutral query has none of them."
    )
    harmful: Phrases = Field(default=Phrases(), description="What does harm, in phrases by kind.")
