"""Writes the corpus's texts: every query and every response, until each slot is full.

One budget of requests in flight serves both. Whenever it has room, the next request is, in this
order: another attempt at a query (decisions behind it wait for it), a judge's grades of a pair,
another attempt at a response, then by turns a slot's first query and the response of a query that
was accepted. So the server is kept busy from the first query to the last response, while
`corpus.text.queries` keeps the decisions in their fixed order: what is asked next depends on time,
what is kept never does.
"""

import asyncio
import heapq
import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.errors import SympatheiaError, root_cause
from corpus.run.open_run import OpenRun
from corpus.servers.chat_requests import ChatAnswer, ChatRequest, complete
from corpus.servers.endpoint_pool import Open
from corpus.text import text_rules
from corpus.text.llm_judge import TRIES, UNREADABLE, Grades, judge_request, read_grades
from corpus.text.near_duplicate_queries import Accepted, Verdict
from corpus.text.queries import (
    NEAR_DUPLICATE,
    Decision,
    Decisions,
    accepted_text,
    query_request,
    query_verdict,
)
from corpus.text.responses import response_request, response_verdict
from schemas.slots import PairSlot, QuerySlot

JUDGE_AT_ONCE = 256
"""Queries embedded and judged in one go: enough for full batches, few enough that responses of
the first need not wait long."""

GIVE_UP_AFTER = 20
"""Slots that may run out of attempts before the run stops; until then the others are finished,
because one unlucky slot should not cost a night, and a broken prompt should not cost a budget."""


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """Where an accepted text is: the attempt that made it and the digest of its request."""

    attempt: int
    digest: str
    grades: Grades | None = None


@dataclass
class Written:
    """What the text stage made: where each accepted text is, and every response refused."""

    responses: dict[str, Kept] = field(default_factory=dict)
    refused_responses: defaultdict[str, list[Decision]] = field(
        default_factory=lambda: defaultdict(list)
    )
    exhausted: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


@dataclass(frozen=True, slots=True)
class _Candidate:
    text: str
    digest: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Pair:
    """One attempt at a response, which the text rules let through."""

    slot: PairSlot
    query_digest: str
    query: str
    kept: Kept
    response: str


class Writing:
    """One run of the text stage; `run` does everything.

    Args:
        at_work: what is to be written, and where what was written lies.
        decisions: what was decided about queries until now.
        pool: opens the servers that write, when there is something to ask.
        embedder: embeds queries, to be compared.
        with_responses: whether responses are written too.
    """

    def __init__(
        self,
        at_work: OpenRun,
        decisions: Decisions,
        pool: Open,
        embedder: EmbeddingProcess,
        *,
        with_responses: bool,
    ) -> None:
        self._blueprint = at_work.blueprint
        self._llm = at_work.blueprint.recipe.llm
        self._plan = plan = at_work.blueprint.plan
        self._store = at_work.store
        self._decisions = decisions
        self._pool = pool
        self._with_responses = with_responses
        self._progress = at_work.progress
        self._embedder = embedder
        threshold = at_work.blueprint.recipe.dedup.threshold
        self._accepted = Accepted(threshold, room=plan.query_count)
        self.written = Written()

        self._slots = list(plan.queries())
        # What is to be judged: per attempt, the slots still open at it, in slot order.
        self._rounds: defaultdict[int, deque[int]] = defaultdict(deque)
        self._arrived: dict[tuple[int, int], _Candidate] = {}
        # What is to be asked.
        self._first: Iterator[int] = iter(())
        self._refills: list[tuple[int, int]] = []
        self._again: deque[tuple[PairSlot, str, int]] = deque()
        self._ungraded: deque[tuple[_Pair, int]] = deque()
        self._ready: deque[tuple[PairSlot, str]] = deque()
        self._responses_turn = False

        self._budget = asyncio.Semaphore(self._llm.concurrency)
        self._jobs = 0
        self._judging = True
        self._something_to_ask = asyncio.Event()
        self._something_to_judge = asyncio.Event()

    async def run(self) -> Written:
        """Fills every slot.

        Raises:
            SympatheiaError: slots ran out of attempts, or the servers failed for too long; all
                that was answered until then is kept.
        """
        await self._resume()
        try:
            async with asyncio.TaskGroup() as group:
                # In a thread, while the first requests are under way.
                self._rules_loaded = group.create_task(asyncio.to_thread(text_rules.load))
                group.create_task(self._judge())
                await self._dispatch(group)
        except ExceptionGroup as errors:
            raise root_cause(errors) from None
        if self.written.exhausted:
            raise SympatheiaError(self._shortage())
        return self.written

    async def _resume(self) -> None:
        """Puts what stands in its place and lines up what is open."""

        def digest_of(slot: QuerySlot, attempt: int) -> str:
            return self._query_request(slot, attempt).digest()

        self._decisions.settle(self._slots, digest_of)
        standing: list[tuple[str, str]] = []
        for index, slot in enumerate(self._slots):
            history = self._decisions.of(slot.id)
            for decision in history:
                if decision.reason:
                    self._progress.refused("queries", slot.cell, decision.reason)
            if history and history[-1].reason is None:
                standing.append((slot.id, history[-1].digest))
                self._accept(slot, history[-1].digest)
            elif len(history) < self._llm.max_attempts:
                self._rounds[len(history)].append(index)
            else:
                self._exhaust(slot.id, [decision.reason for decision in history])
        if any(self._rounds.values()):
            for start in range(0, len(standing), JUDGE_AT_ONCE):
                part = standing[start : start + JUDGE_AT_ONCE]
                texts = [accepted_text(self._store, digest) for _, digest in part]
                vectors = await asyncio.to_thread(self._embed, texts)
                self._accepted.add([slot_id for slot_id, _ in part], vectors)
        self._first = iter(tuple(self._rounds[0]))
        self._refills = [(n, index) for n, order in self._rounds.items() for index in order if n]
        heapq.heapify(self._refills)

    # Asking

    async def _dispatch(self, group: asyncio.TaskGroup) -> None:
        """Starts a job, of one request each, whenever the budget has room for it."""

        async def counted(job: Coroutine[None, None, None]) -> None:
            await job
            self._jobs -= 1
            self._something_to_ask.set()

        while not self._gave_up:
            await self._budget.acquire()
            while (job := self._take()) is None:
                if not self._judging and not self._jobs:
                    return
                self._something_to_ask.clear()
                await self._something_to_ask.wait()
            self._jobs += 1
            try:
                group.create_task(counted(job))
            except RuntimeError:  # the group is ending, because another job failed
                job.close()
                raise

    def _take(self) -> Coroutine[None, None, None] | None:
        """The next job, or None while there is nothing to ask."""
        if self._gave_up:
            return None
        if self._refills:
            attempt, index = heapq.heappop(self._refills)
            return self._ask_query(index, attempt)
        if self._ungraded:
            return self._ask_grades(*self._ungraded.popleft())
        if self._again:
            return self._ask_response(*self._again.popleft())
        if not (self._responses_turn and self._ready):
            index = next(self._first, -1)
            if index >= 0:
                self._responses_turn = True
                return self._ask_query(index, 0)
        if self._ready:
            self._responses_turn = False
            return self._ask_response(*self._ready.popleft(), 0)
        return None

    async def _answer(self, request: ChatRequest, digest: str, what: str) -> ChatAnswer:
        """The answer to a job's request, stored or asked for; then the budget has room again."""
        try:
            stored = self._store.completions.get(digest)
            if stored is not None:
                return ChatAnswer.from_dict(stored)
            answer = await complete(await self._pool(), request, what)
            self._store.completions.put(digest, answer.to_dict())
            return answer
        finally:
            # Before the verdict: the server must not stand idle while it is found.
            self._budget.release()

    def _query_request(self, slot: QuerySlot, attempt: int) -> ChatRequest:
        return query_request(self._blueprint, slot, attempt)

    async def _ask_query(self, index: int, attempt: int) -> None:
        slot = self._slots[index]
        request = self._query_request(slot, attempt)
        digest = request.digest()
        answer = await self._answer(request, digest, f"{slot.id}, attempt {attempt}")
        await self._rules_loaded
        text, reason = query_verdict(self._blueprint, slot, answer)
        self._arrived[attempt, index] = _Candidate(text, digest, reason)
        if self._rounds[attempt] and self._rounds[attempt][0] == index:
            self._something_to_judge.set()

    async def _ask_response(self, slot: PairSlot, query_digest: str, attempt: int) -> None:
        query = accepted_text(self._store, query_digest)
        request = response_request(self._blueprint, slot, query, attempt)
        digest = request.digest()
        answer = await self._answer(request, digest, f"{slot.id}, attempt {attempt}")
        await self._rules_loaded
        text, reason = response_verdict(self._blueprint, slot, query, answer)
        pair = _Pair(slot, query_digest, query, Kept(attempt, digest), text)
        if reason is None and self._llm.judge.model:
            self._ungraded.append((pair, 0))
        else:
            self._settle_response(pair, reason)

    async def _ask_grades(self, pair: _Pair, tried: int) -> None:
        judge, slot = self._llm.judge, pair.slot
        request = judge_request(self._blueprint, slot, pair.query, pair.response, tried)
        what = f"the grades of {slot.id}, attempt {pair.kept.attempt}"
        grades = read_grades(await self._answer(request, request.digest(), what))
        if grades is not None:
            pair = replace(pair, kept=replace(pair.kept, grades=grades))
            self._settle_response(pair, grades.problem(judge.threshold))
        elif tried + 1 < TRIES:
            self._ungraded.append((pair, tried + 1))
        else:
            self._settle_response(pair, UNREADABLE)

    def _settle_response(self, pair: _Pair, reason: str | None) -> None:
        slot, attempt = pair.slot, pair.kept.attempt
        if reason is None:
            self.written.responses[slot.id] = pair.kept
            self._progress.filled("responses", slot.cell)
            return
        self._progress.refused("responses", slot.cell, reason)
        refused = self.written.refused_responses[slot.id]
        refused.append(Decision(slot.id, attempt, pair.kept.digest, reason))
        if len(refused) < self._llm.max_attempts:
            self._again.append((slot, pair.query_digest, attempt + 1))
        else:
            self._exhaust(slot.id, [decision.reason for decision in refused])

    # Judging

    async def _judge(self) -> None:
        """Decides the queries in their order, each as soon as all before it are decided."""
        if any(self._rounds.values()):  # a model that cannot be had is known at once
            await asyncio.to_thread(self._embedder.load)
        for attempt in range(self._llm.max_attempts):
            order = self._rounds[attempt]
            while order and not self._gave_up:
                block = self._next_block(attempt)
                if block:
                    await self._decide(attempt, block)
                else:
                    self._something_to_judge.clear()
                    await self._something_to_judge.wait()
        self._judging = False
        self._something_to_ask.set()

    def _next_block(self, attempt: int) -> list[int]:
        """The slots at the head of a round whose answers are there."""
        order = self._rounds[attempt]
        block: list[int] = []
        while order and len(block) < JUDGE_AT_ONCE and (attempt, order[0]) in self._arrived:
            block.append(order.popleft())
        return block

    async def _decide(self, attempt: int, block: list[int]) -> None:
        candidates = [self._arrived.pop((attempt, index)) for index in block]
        usable = [
            (self._slots[index].id, candidate.text)
            for index, candidate in zip(block, candidates, strict=True)
            if candidate.reason is None
        ]
        verdicts = {v.id: v for v in await asyncio.to_thread(self._judge_texts, usable)}
        decisions = []
        for index, candidate in zip(block, candidates, strict=True):
            slot = self._slots[index]
            verdict = verdicts.get(slot.id)
            if verdict is None:
                decision = Decision(slot.id, attempt, candidate.digest, candidate.reason)
            else:
                reason = None if verdict.accepted else NEAR_DUPLICATE
                decision = Decision(
                    slot.id,
                    attempt,
                    candidate.digest,
                    reason,
                    verdict.nearest_id,
                    verdict.similarity,
                )
            decisions.append(decision)
        self._decisions.add(decisions)
        for index, decision in zip(block, decisions, strict=True):
            self._settle(index, decision)
        self._something_to_ask.set()

    def _settle(self, index: int, decision: Decision) -> None:
        """Lets what follows from a decision begin."""
        slot = self._slots[index]
        following = decision.attempt + 1
        if decision.reason is None:
            self._accept(slot, decision.digest)
            return
        self._progress.refused("queries", slot.cell, decision.reason)
        if following < self._llm.max_attempts:
            self._rounds[following].append(index)
            heapq.heappush(self._refills, (following, index))
        else:
            self._exhaust(slot.id, [d.reason for d in self._decisions.of(slot.id)])

    def _judge_texts(self, named: list[tuple[str, str]]) -> list[Verdict]:
        if not named:
            return []
        begun = time.monotonic()
        vectors = self._embed([text for _, text in named])
        embedded = time.monotonic()
        verdicts = self._accepted.judge([slot_id for slot_id, _ in named], vectors)
        facts = {
            "queries": len(named),
            "accepted_before": len(self._accepted) - sum(verdict.accepted for verdict in verdicts),
            "embedding_seconds": round(embedded - begun, 3),
            "search_seconds": round(time.monotonic() - embedded, 3),
        }
        log.info("near-duplicates", extra=facts)
        return verdicts

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        return self._embedder.stored(self._store.embeddings, texts)

    def _accept(self, slot: QuerySlot, digest: str) -> None:
        self._progress.filled("queries", slot.cell)
        if self._with_responses:
            self._ready.extend((pair, digest) for pair in self._plan.pairs_of(slot))

    # Running out of attempts

    @property
    def _gave_up(self) -> bool:
        return len(self.written.exhausted) > GIVE_UP_AFTER

    def _exhaust(self, slot_id: str, reasons: list[str | None]) -> None:
        self.written.exhausted[slot_id] = Counter(reason or "" for reason in reasons)
        if self._gave_up:
            self._something_to_judge.set()
            self._something_to_ask.set()

    def _shortage(self) -> str:
        exhausted = self.written.exhausted
        cells = Counter(slot_id.rpartition("-")[0] for slot_id in exhausted)
        slot_id, reasons = next(iter(exhausted.items()))
        why = ", ".join(f"{reason} {count}x" for reason, count in reasons.most_common())
        return (
            f"{len(exhausted)} slots stayed empty after {self._llm.max_attempts} attempts each "
            f"({', '.join(f'{cell}: {count}' for cell, count in cells.most_common(5))}); "
            f"{slot_id}, for one, was refused as {why}. Raise llm.max_attempts, or change the "
            "templates or topics, and run the same command again; everything accepted is kept."
        )
