"""What a model that hears is asked: the rubrics, and which of them suits what.

A rubric is a template like those of the text model, in `rubrics/` of a prompts folder, which may
leave them all out: then the bundled ones are used. A line `[[clip]]` in it is where a clip is
heard. Rubrics shape no corpus, so they are no part of what its prompts are known by.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from corpus.errors import InvalidInput
from corpus.plan.prompt_files import BUNDLED
from corpus.plan.subsets.registry import ROOMS
from corpus.plan.templates import Message, Templates
from schemas.slots import NEUTRAL, Subset

ADAPTATION, HELPFULNESS, EMPATHY = "adaptation", "helpfulness", "empathy"
"""Of a response, each with the five levels that the published evaluation has."""
DELIVERY = "delivery"
"""Of any clip: whether it sounds as its style asks."""
PAIRWISE, HEARING = "pairwise", "hearing"
"""Which of two responses suits better; and what is said, for the probe."""

CLIPS_IN = {ADAPTATION: 1, HELPFULNESS: 1, EMPATHY: 1, DELIVERY: 1, PAIRWISE: 2, HEARING: 1}
"""Every rubric, and how many clips are heard in it."""

CLIP_LINE = re.compile(r"^\[\[clip\]\]\s*$", re.MULTILINE)
"""Where in a rubric a clip is heard."""

FOLDER = "rubrics"


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing to be graded.

    Attributes:
        rubric: by which; one of `CLIPS_IN`.
        emotion: name of the anchor that a response is for.
        feeling: of the anchor, as `anchors.yaml` says it.
        clip: a sound file as it lies on disk, FLAC or WAV.
        point: valence and arousal, where the judge is to be told.
        query: the query's words, where the judge is to be told.
        style: how the speaker was told to sound, which only `DELIVERY` asks about.
    """

    rubric: str
    emotion: str
    feeling: str
    clip: bytes
    point: tuple[float, float] | None = None
    query: str | None = None
    style: str = ""


def rubric_for(subset: Subset, target: str) -> str:
    """The rubric for a response of a subset to someone who feels as the target anchor says.

    Where nothing is felt there is nothing to adapt to, in either subset.
    """
    if target == NEUTRAL:
        return HELPFULNESS
    return EMPATHY if ROOMS[subset].in_words else ADAPTATION


class Rubrics:
    """The rubrics for a prompts folder: its own, or the bundled ones.

    Raises:
        InvalidInput: one is missing, does not render, or has too few clips or too many.
    """

    def __init__(self, prompts: Path) -> None:
        own = prompts / FOLDER
        self._templates = Templates(own if own.is_dir() else BUNDLED / FOLDER)
        told = Asked("", "a name", "a feeling", b"", (0.0, 0.0), "Where is it?", "A style")
        for rubric in CLIPS_IN:
            for asked in (told, replace(told, point=None, query=None)):
                self.messages(asked, rubric)

    def messages(self, asked: Asked, rubric: str) -> list[Message]:
        """What the judge is told by a rubric, be it the thing's own or another.

        Raises:
            InvalidInput: the words of the query break it.
        """
        # On one line, in which nothing opens a message.
        query = " ".join(asked.query.split()) if asked.query is not None else None
        values = {
            "emotion": asked.emotion,
            "feeling": asked.feeling,
            "style": asked.style,
            "point": asked.point,
            "query": query,
        }
        messages = self._templates.render(rubric, values)
        clips = sum(len(CLIP_LINE.findall(message["content"])) for message in messages)
        if clips != CLIPS_IN[rubric]:
            raise InvalidInput(
                f"{self._templates.path(rubric)} has {clips} lines [[clip]] and needs "
                f"{CLIPS_IN[rubric]}, each where a clip is heard. Mend it, or copy the bundled one."
            )
        return messages
