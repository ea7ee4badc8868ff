"""Answers that decisions rest on and that the store has lost: asked for again.

Nothing is lost to a kill or a power cut, for a decision is put on file after its answers are on the
disk. But a disk may damage what it had, and a store may be deleted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from corpus.errors import root_cause
from corpus.run.open_run import OpenRun
from corpus.servers.chat_requests import ChatAnswer, ChatRequest
from corpus.text.queries import Decision, Decisions, query_request, text_digest

Ask = Callable[[ChatRequest, str, str], Awaitable[ChatAnswer]]
"""Asks for the answer to a request, with its digest and its name, and stores it."""

log = logging.getLogger(__name__)


async def ask_for_lost(run: OpenRun, decisions: Decisions, ask: Ask) -> None:
    """Asks again for every answer that was decided on, is lost, and is still in the plan.

    A decision whose answer comes back as it was stands. Of a slot that is answered otherwise now,
    or that was decided by a release that did not note the text, all is decided anew.

    Raises:
        EndpointsFailed: the servers failed for too long; what was answered until then is kept.
        OSError: the disk is full or fails.
    """
    lost = [
        (request, decision)
        for slot in run.blueprint.plan.queries()
        for decision in decisions.of(slot.id)
        if decision.digest not in run.store.completions
        for request in (query_request(run.blueprint, slot, decision.attempt),)
        if request.digest() == decision.digest
    ]
    if not lost:
        return
    log.warning("Answers that were decided on are lost (%d); they are asked for again.", len(lost))
    changed: set[str] = set()

    async def restore(request: ChatRequest, decision: Decision) -> None:
        name = f"{decision.slot}, attempt {decision.attempt}"
        answer = await ask(request, decision.digest, name)
        if text_digest(answer) != decision.text:
            changed.add(decision.slot)

    try:
        async with asyncio.TaskGroup() as group:
            for request, decision in lost:
                group.create_task(restore(request, decision))
    except ExceptionGroup as errors:
        raise root_cause(errors) from None
    decisions.let_go(sorted(changed))
