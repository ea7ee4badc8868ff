"""The judge: a language model that grades each pair; what it grades too low is refused.

Off unless the recipe names a model in `llm.judge`. It grades what the text rules let through. Its
request holds the pair's own words, so its answer is in the store under them, and a run that is
continued does not ask again.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corpus.judge.readable_answers import UNREADABLE
from corpus.plan.blueprint import Blueprint
from corpus.plan.subsets.subset import Exchange
from corpus.servers.chat_requests import ChatAnswer, ChatRequest
from schemas.slots import PairSlot

REFUSED = "judge_"
"""Begins the reason of a pair with too low a grade; what follows names the quality."""

Grade = Annotated[int, Field(ge=1, le=5)]


class Grades(BaseModel):
    """A judge's answer: from 1, the worst, to 5 for each quality."""

    model_config = ConfigDict(extra="forbid")

    empathy: Grade
    answer: Grade
    speakability: Grade

    def problem(self, threshold: int) -> str | None:
        """The first quality graded below the threshold, as the name of a rule; None if none is."""
        return next(
            (REFUSED + name for name, grade in self.model_dump().items() if grade < threshold),
            None,
        )


_FORM = {
    "type": "json_schema",
    "json_schema": {"name": "grades", "strict": True, "schema": Grades.model_json_schema()},
}
"""Makes servers that can (vLLM, llama.cpp, OpenAI) answer in this form and no other."""


def judge_request(
    blueprint: Blueprint,
    slot: PairSlot,
    query: str,
    response: str,
    tried: int,
    said: Sequence[Exchange] = (),
) -> ChatRequest:
    """The request that has a pair graded, for the (`tried` + 1)-th time."""
    judge, plan = blueprint.recipe.llm.judge, blueprint.plan
    messages = blueprint.prompts.judge(
        blueprint.target(slot), query, response, in_words=blueprint.room(slot).in_words, said=said
    )
    request = ChatRequest.sampled(judge.model, messages, judge, plan.seed("judge", slot.id, tried))
    return replace(request, extra={"response_format": _FORM, **request.extra})


def remedy(reason: str) -> str | None:
    """What to do where the judge refuses most, as an order; None where it was not the judge."""
    if reason == UNREADABLE:
        return "See that llm.judge.model answers in JSON as it is asked to, or set another model"
    if reason.startswith(REFUSED):
        return "If they are good, lower llm.judge.threshold, or set another llm.judge.model"
    return None


def read_grades(answer: ChatAnswer) -> Grades | None:
    """The grades in an answer, with or without a code fence around them; None if there are none."""
    start, end = answer.text.find("{"), answer.text.rfind("}")
    try:
        return Grades.model_validate_json(answer.text[start : end + 1], strict=True)
    except ValidationError:
        return None
