"""Responses: how one is asked for, and whether what comes back is kept.

A response depends on its own query and anchor alone, so it is judged the moment it arrives.
"""

from corpus.plan.blueprint import Blueprint
from corpus.servers.chat_requests import ChatAnswer, ChatRequest, problem
from corpus.text import text_rules
from corpus.voices.builtin_synthesis import text_problem
from schemas.slots import PairSlot


def response_request(blueprint: Blueprint, slot: PairSlot, query: str, attempt: int) -> ChatRequest:
    """The request that makes one attempt at one response."""
    llm, prompts, plan = blueprint.recipe.llm, blueprint.prompts, blueprint.plan
    anchor = plan.anchors[slot.anchor]
    if slot.query.anchor is None:
        messages = prompts.neutral_response(anchor, query)
    else:
        messages = prompts.emotional_response(anchor, query)
    seed = plan.seed("response", slot.id, attempt)
    return ChatRequest.sampled(llm.model, messages, llm.responses, seed)


def response_verdict(
    blueprint: Blueprint, slot: PairSlot, query: str, answer: ChatAnswer
) -> tuple[str, str | None]:
    """The response as a voice would read it, and the rule it breaks, if any."""
    text = text_rules.clean(answer.text)
    return text, problem(answer) or response_problem(blueprint, slot, query, text)


def response_problem(blueprint: Blueprint, slot: PairSlot, query: str, text: str) -> str | None:
    """The text rule that a cleaned response breaks, if any."""
    prompts, anchor = blueprint.prompts, blueprint.plan.anchors[slot.anchor]
    # Only the anchor's own labels: a verdict must not change because another anchor was added.
    labels = (anchor.name, *prompts.aliases_of(anchor))
    reason = text_rules.response_problem(
        text,
        rules=prompts.rules,
        query=query,
        required_words=anchor.required_words,
        opening_words=() if slot.query.anchor else labels,
        shown=[example.response for example in anchor.examples],
    )
    return reason or (text_rules.UNSPEAKABLE if text_problem(text) else None)
