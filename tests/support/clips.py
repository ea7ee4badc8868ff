"""Verdicts on clips, as the speech stage gives them."""

from corpus.sound.clip_audio import ClipMeasures, measure
from corpus.sound.clip_rejection_rules import HeardClip, clip_rules, judge


def problem(data: bytes, words: int, **settings) -> str | None:
    """The first rule that a clip of so many words breaks, by a recipe's settings."""
    return problem_of(measure(data), words, **settings)


def problem_of(measures: ClipMeasures, words: int, **settings) -> str | None:
    """The same, by what was measured of it."""
    return judge(clip_rules(settings), HeardClip(measures, words)).reason
