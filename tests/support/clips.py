"""Verdicts on clips, as the speech stage gives them."""

from corpus.sound.clip_audio import measure
from corpus.sound.clip_rules import HeardClip, clip_rules, judge


def problem(data: bytes, words: int, **settings) -> str | None:
    """The first rule that a clip of so many words breaks, by a recipe's settings."""
    return judge(clip_rules(settings), HeardClip(measure(data), words)).reason
