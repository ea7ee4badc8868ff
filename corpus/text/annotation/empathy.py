"""The chain of empathy of a pair: its scenario, the cause of the feeling, the goal of the response.

The three are those that AvaMERG annotates. A model is asked for them as a JSON object, by a form
that servers with guided decoding hold it to; what comes back is judged by rules of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pydantic import BaseModel, ConfigDict, ValidationError

from corpus.plan.blueprint import Blueprint
from corpus.plan.rules import Rule, Rules
from corpus.plan.subsets.subset import Exchange
from corpus.servers.chat_requests import ChatAnswer, ChatRequest
from corpus.servers.chat_requests import remedy as remedy_of_answer
from corpus.text.wording.cleaning import clean
from corpus.text.wording.text_rejection_rules import MIN_ENGLISH
from corpus.text.wording.utterance import Utterance
from schemas.recipe import RuleSetting
from schemas.slots import PairSlot
from schemas.tables import EMPATHY

KEY = "annotate.rules"
UNREADABLE = "annotation_unreadable"
"""The reason of an answer that is not a JSON object of the three."""

_SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in EMPATHY},
    "required": list(EMPATHY),
    "additionalProperties": False,
}
_FORM = {
    "type": "json_schema",
    "json_schema": {"name": "empathy", "strict": True, "schema": _SCHEMA},
}
"""Has servers that can (vLLM, llama.cpp, OpenAI) answer in this form and no other. Written out,
because it is part of every request's digest."""


class Annotation(BaseModel):
    """What a model notes of a pair.

    Attributes:
        scenario: what is going on for the speaker.
        cause: what of that gives rise to the feeling.
        goal: which state the response addresses, and where it is to lead.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenario: str
    cause: str
    goal: str


@dataclass(frozen=True)
class Noted:
    """An annotation as the rules judge it: each part, and all of them together."""

    parts: tuple[Utterance, ...]
    whole: Utterance

    @cached_property
    def lengths(self) -> list[int]:
        """Words of each part."""
        return [len(part.words) for part in self.parts]


ANNOTATION_RULES: tuple[Rule[Noted], ...] = (
    Rule(
        "no_sentence",
        lambda noted: min(noted.lengths),
        "A part is empty, or too short to tell anything.",
        3,
        least=True,
        unit="words",
    ),
    Rule(
        "too_long",
        lambda noted: max(noted.lengths),
        "A part is longer than the one sentence that is asked for, of 25 words at most; some room "
        "is left, as models count badly.",
        40,
        unit="words",
    ),
    Rule(
        "non_english",
        lambda noted: float(noted.whole.in_latin_letters and noted.whole.english),
        "It is in another language than the words of the pair.",
        MIN_ENGLISH,
        least=True,
        unit="probability",
    ),
    Rule(
        "said_twice",
        lambda noted: len({tuple(part.words) for part in noted.parts}) < len(noted.parts),
        "Two parts say the same.",
    ),
)


def annotation_rules(settings: Mapping[str, RuleSetting]) -> Rules[Noted]:
    """The rules as a recipe has them, by its `annotate.rules`.

    Raises:
        InvalidInput: there is no such rule, or it cannot be set so.
    """
    return Rules(ANNOTATION_RULES, settings, KEY)


def annotation_request(
    blueprint: Blueprint,
    slot: PairSlot,
    query: str,
    response: str,
    attempt: int,
    said: Sequence[Exchange] = (),
) -> ChatRequest:
    """The request that makes one attempt at the annotation of a pair.

    Args:
        blueprint: what is made.
        slot: of the pair.
        query: its words.
        response: likewise.
        attempt: which.
        said: what was said before, in a dialogue.
    """
    annotate, plan = blueprint.recipe.annotate, blueprint.plan
    messages = blueprint.prompts.empathy(
        blueprint.target(slot), query, response, in_words=blueprint.room(slot).in_words, said=said
    )
    seed = plan.seed("annotation", slot.id, attempt)
    request = ChatRequest.sampled(blueprint.recipe.llm.model, messages, annotate, seed)
    return replace(request, extra={"response_format": _FORM, **request.extra})


def read_annotation(answer: ChatAnswer) -> Annotation | None:
    """The annotation in an answer, cleaned; None if there is none of this form."""
    start, end = answer.text.find("{"), answer.text.rfind("}")
    try:
        found = Annotation.model_validate_json(answer.text[start : end + 1], strict=True)
    except ValidationError:
        return None
    return Annotation(**{name: clean(getattr(found, name)) for name in EMPATHY})


def noted(blueprint: Blueprint, annotation: Annotation) -> Noted:
    """An annotation as the rules judge it."""
    texts = [getattr(annotation, name) for name in EMPATHY]
    lists = blueprint.prompts.rules
    parts = tuple(Utterance(text, lists) for text in texts)
    return Noted(parts, Utterance(" ".join(texts), lists))


def remedy(reason: str) -> str | None:
    """What to do where most annotations are refused for a reason that is no rule, as an order."""
    if reason == UNREADABLE:
        return "See that llm.model answers in JSON as it is asked to, or set annotate.empathy=false"
    return remedy_of_answer(reason, "annotate")
