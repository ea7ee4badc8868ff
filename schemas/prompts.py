"""What a prompts folder holds: anchors, topics and the wording rules, as validated models."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Coordinate = Annotated[float, Field(ge=-1.0, le=1.0)]
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
AnchorName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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


class AnchorFile(_Strict):
    """`anchors.yaml`: every anchor in corpus order, label aliases, and the neutral query."""

    neutral_query: NeutralQuery
    aliases: dict[str, AnchorName] = Field(
        description="Labels of other datasets and the anchor each stands for."
    )
    anchors: tuple[Anchor, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _no_two_alike(self) -> "AnchorFile":
        names: set[str] = set()
        points: dict[Point, str] = {}
        for anchor in self.anchors:
            if anchor.name in names:
                raise ValueError(f"two anchors are named '{anchor.name}'")
            names.add(anchor.name)
            if anchor.point in points:
                raise ValueError(
                    f"anchors '{points[anchor.point]}' and '{anchor.name}' lie at the same point"
                )
            points[anchor.point] = anchor.name
        for label, name in self.aliases.items():
            if name not in names:
                raise ValueError(f"alias '{label}' names '{name}', which is not an anchor")
        return self


class TopicFile(_Strict):
    """`topics.yaml`: everyday topics in named groups; order is the corpus's order."""

    groups: dict[str, Annotated[tuple[Text, ...], Field(min_length=1)]] = Field(min_length=1)

    @model_validator(mode="after")
    def _no_topic_twice(self) -> "TopicFile":
        seen: set[str] = set()
        for topic in self.topics:
            if topic in seen:
                raise ValueError(f"topic '{topic}' is listed twice")
            seen.add(topic)
        return self

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics, group after group."""
        return tuple(topic for group in self.groups.values() for topic in group)


class RuleFile(_Strict):
    """`rules.yaml`: the word lists that the text rules look for, lower case."""

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
