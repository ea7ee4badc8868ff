"""The guard: a safety model that is shown each pair; what it finds unsafe is refused.

Off unless the recipe names a model in `llm.guard`. Safety models of the kind of Llama Guard and
Qwen3Guard are asked with the conversation itself, which their chat templates wrap. The first kind
answers "safe", or "unsafe" and on the next line a category, the second "Safety: Unsafe" and more.
"""

import re
from collections.abc import Sequence

from corpus.plan.blueprint import Blueprint
from corpus.plan.subsets.subset import Exchange
from corpus.servers.chat_requests import ChatAnswer, ChatRequest
from schemas.slots import PairSlot

UNSAFE = "guard_unsafe"
UNREADABLE = "guard_unreadable"

_VERDICT = re.compile(r"\s*(?:safety\s*:\s*)?(safe|unsafe|controversial)\b", re.IGNORECASE)


def guard_request(
    blueprint: Blueprint,
    slot: PairSlot,
    query: str,
    response: str,
    tried: int,
    said: Sequence[Exchange] = (),
) -> ChatRequest:
    """The request that has a pair looked at, for the (`tried` + 1)-th time."""
    guard = blueprint.recipe.llm.guard
    messages = [
        {"role": role, "content": text}
        for exchange in (*said, Exchange(query, response))
        for role, text in (("user", exchange.query), ("assistant", exchange.response))
    ]
    seed = blueprint.plan.seed("guard", slot.id, tried)
    return ChatRequest.sampled(guard.model, messages, guard, seed)


def remedy(reason: str) -> str | None:
    """What to do where the guard refuses most, as an order; None where it was not the guard."""
    if reason == UNREADABLE:
        return "See that llm.guard.model answers safe or unsafe, or set another model"
    if reason == UNSAFE:
        return 'If they are good, set another llm.guard.model, or none (llm.guard.model = "")'
    return None


def read_safety(answer: ChatAnswer) -> bool | None:
    """Whether a guard found a pair safe; None where its answer does not say.

    What Qwen3Guard calls controversial is not safe: a corpus can do without it.
    """
    found = _VERDICT.match(answer.text)
    return found and found[1].lower() == "safe"
