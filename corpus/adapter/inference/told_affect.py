"""What a model is told of the user's feeling, as a person or a sensing module gives it."""

import json
from collections.abc import Mapping
from math import isfinite

from corpus.affect import expected_affect
from corpus.errors import InvalidInput
from corpus.plan.prompt_files import BUNDLED, read_anchors

Affect = tuple[float, float]


def affect_of_point(valence: object, arousal: object) -> Affect:
    """A point of the plane.

    Raises:
        InvalidInput: a coordinate is no number from -1 to 1.
    """
    for name, value in (("valence", valence), ("arousal", arousal)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not isfinite(value) or abs(value) > 1:  # type: ignore[arg-type]
            raise InvalidInput(f"The {name} is {value!r:.40}; it has to be a number from -1 to 1.")
    return float(valence), float(arousal)  # type: ignore[arg-type]


def affect_of_text(written: str) -> Affect:
    """A point that is written as `V,A`.

    Raises:
        InvalidInput: it is none.
    """
    try:
        valence, arousal = (float(part) for part in written.split(","))
    except ValueError:
        raise InvalidInput(
            f"--affect: {written!r:.40} is no point. Give valence and arousal, each from -1 to 1, "
            "as --affect=-0.6,0.3"
        ) from None
    return affect_of_point(valence, arousal)


def affect_of_emotion(name: str) -> Affect:
    """The point of an anchor, or of a label that stands for one.

    Raises:
        InvalidInput: there is no such emotion.
    """
    return affect_of_probabilities({name: 1.0})


def affect_of_probabilities(probabilities: Mapping[str, float]) -> Affect:
    """The mean of the anchors' points, weighted by what a classifier believes of each.

    Raises:
        InvalidInput: a label is unknown, or they are no probabilities.
    """
    try:
        return expected_affect(probabilities, read_anchors(BUNDLED))
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(f"The emotion cannot be told: {error}") from error


def affect_as_given(
    point: str | None, emotion: str | None, probabilities: str | None
) -> Affect | None:
    """What the options of a command say; None if there are none.

    Raises:
        InvalidInput: one of them says nothing that can be meant, or there are several.
    """
    if sum(given is not None for given in (point, emotion, probabilities)) > 1:
        raise InvalidInput("Give one of --affect, --emotion and --probabilities, not several.")
    if point is not None:
        return affect_of_text(point)
    if emotion is not None:
        return affect_of_emotion(emotion)
    if probabilities is None:
        return None
    try:
        believed = json.loads(probabilities)
    except ValueError as error:
        raise InvalidInput(
            f'--probabilities is no JSON ({error}). Write it as \'{{"sad": 0.7, "tired": 0.3}}\'.'
        ) from error
    return affect_of_probabilities(believed)
