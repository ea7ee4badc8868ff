"""Judges queries in their one order, as `corpus.text.queries` has it: by attempt, then by slot.

Whoever asks hands in each answer as it arrives; a query is decided as soon as every answer before
it has been. What follows from a decision is for the one who asks to do.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.plan.rules import Verdict
from corpus.run.open_run import OpenRun
from corpus.run.strikes import STRUCK_IN_REVIEW
from corpus.servers.chat_requests import ChatAnswer
from corpus.text.assessment.closeness import Closeness, judged_by_closeness
from corpus.text.near_duplicate_queries import Accepted
from corpus.text.near_duplicate_queries import Verdict as Likeness
from corpus.text.queries import (
    NEAR_DUPLICATE,
    Decision,
    Decisions,
    accepted_text,
    judged,
    query_request,
    stored_answer,
)
from corpus.text.wording.cleaning import clean
from corpus.text.wording.text_rejection_rules import OFF_TOPIC
from corpus.text.wording.text_rules import TextRules
from corpus.text.wording.utterance import Utterance
from schemas.slots import QuerySlot

JUDGE_AT_ONCE = 256
"""Queries embedded and judged in one go: enough for full batches, few enough that responses of
the first need not wait long."""
PLACED = (None, STRUCK_IN_REVIEW)
"""Reasons with which a query is one that others must not resemble: it stands, or might again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One attempt at a query.

    Attributes:
        text: as a voice would read it.
        digest: of its request.
        answer: the `text_digest` of what came back.
        verdict: what the rules say.
    """

    text: str
    digest: str
    answer: str
    verdict: Verdict


class QueryJudging:
    """The decisions about one plan's queries, from those on file to the last.

    Args:
        run: what is to be written, and where what was written lies.
        rules: judge each text by itself.
        decisions: what was decided until now.
        embedder: embeds queries, to be compared.
        closeness: knows how close queries are to their topics.
        follow: is told of every decision of now: the slot's place, the decision, and the verdict
            of the rules on its text.
    """

    def __init__(
        self,
        run: OpenRun,
        rules: TextRules,
        decisions: Decisions,
        embedder: EmbeddingProcess,
        closeness: Closeness,
        follow: Callable[[int, Decision, Verdict], None],
    ) -> None:
        self._blueprint, self._store, self._strikes = run.blueprint, run.store, run.strikes
        self._max_attempts = run.blueprint.recipe.llm.max_attempts
        self._rules = rules
        self._decisions = decisions
        self._embedder, self._closeness = embedder, closeness
        self._follow = follow
        self.slots = [slot for slot in run.blueprint.plan.queries() if slot.opens]
        threshold = run.blueprint.recipe.dedup.threshold
        self._accepted = Accepted(threshold, room=len(self.slots))
        # What is to be judged: per attempt, the slots still open at it, in slot order.
        self._rounds: defaultdict[int, deque[int]] = defaultdict(deque)
        self._arrived: dict[tuple[int, int], Candidate] = {}
        self._something_to_judge = asyncio.Event()
        self._stopped = False

    # What was decided before

    async def resume(self) -> dict[str, Verdict]:
        """Lets go of what no longer holds, and keeps the place of what does.

        A decision no longer holds when its request is no longer in the plan, or when the rules of
        today would have it otherwise: then its slot is open again from its first attempt on. Of
        what was refused only slots that are still empty are looked at, because what is accepted
        stays.

        Returns:
            What the rules say of every query that stands, by slot.
        """

        def digest_of(slot: QuerySlot, attempt: int) -> str:
            return query_request(self._blueprint, slot, attempt).digest()

        self._decisions.settle(self.slots, digest_of)
        self._decisions.review(self._strikes)
        decided = [slot for slot in self.slots if self._decisions.of(slot.id)]
        standing: dict[str, Verdict] = {}
        changed: list[str] = []
        for start in range(0, len(decided), JUDGE_AT_ONCE):
            part = decided[start : start + JUDGE_AT_ONCE]
            for slot, verdict in await asyncio.to_thread(self._judge_anew, part):
                if verdict is None:
                    changed.append(slot.id)
                elif self._decisions.of(slot.id)[-1].reason is None:
                    standing[slot.id] = verdict
        if changed:
            log.info("judged otherwise by the rules of now", extra={"queries": len(changed)})
        self._decisions.let_go(changed)
        for index, slot in enumerate(self.slots):
            history = self._decisions.of(slot.id)
            if slot.id not in standing and len(history) < self._max_attempts:
                self._rounds[len(history)].append(index)
        if any(self._rounds.values()):
            await self._place()
        return standing

    def _judge_anew(self, slots: list[QuerySlot]) -> list[tuple[QuerySlot, Verdict | None]]:
        """What the rules say of each slot's last attempt; None where the rules of now disagree."""
        histories = [(slot, self._decisions.of(slot.id)) for slot in slots]
        in_question = [
            (slot, decision)
            for slot, history in histories
            for decision in (history[-1:] if history[-1].reason is None else history)
        ]
        last: dict[str, Verdict] = {}
        changed: set[str] = set()
        for (slot, decision), verdict in zip(in_question, self._verdicts(in_question), strict=True):
            by_rules = None if decision.reason == NEAR_DUPLICATE else decision.reason
            if verdict.reason != by_rules:
                changed.add(slot.id)
            last[slot.id] = verdict
        return [(slot, None if slot.id in changed else last[slot.id]) for slot in slots]

    def _verdicts(self, on_file: list[tuple[QuerySlot, Decision]]) -> list[Verdict]:
        """What the rules of now say of attempts on file."""
        found = [
            self.judge(slot, decision.digest, stored_answer(self._store, decision.digest))
            for slot, decision in on_file
        ]
        rules = self._rules.of_queries
        if rules.asks(OFF_TOPIC):
            left = [n for n, (_, verdict) in enumerate(found) if verdict.reason is None]
            topics = [
                self._blueprint.plan.topic(on_file[n][0], on_file[n][1].attempt) for n in left
            ]
            texts = [found[n][0].text for n in left]
            cosines = self._closeness.of_all(list(zip(texts, topics, strict=True)))
            for n, cosine in zip(left, cosines, strict=True):
                found[n] = judged_by_closeness(rules, found[n][0], cosine, found[n][1])
        return [verdict for _, verdict in found]

    async def _place(self) -> None:
        """Puts what stands, or might again, before everything that is still to be compared."""
        placed = [
            decision
            for slot in self.slots
            for decision in self._decisions.of(slot.id)
            if decision.reason in PLACED
        ]
        for start in range(0, len(placed), JUDGE_AT_ONCE):
            part = placed[start : start + JUDGE_AT_ONCE]
            texts = [accepted_text(self._store, decision.digest) for decision in part]
            vectors = await asyncio.to_thread(self._embed, texts)
            self._accepted.add([decision.name for decision in part], vectors)

    # What is decided now

    def open(self) -> list[tuple[int, int]]:
        """Attempt and place of every slot that is not full, as they are to be judged."""
        return [(n, index) for n, order in sorted(self._rounds.items()) for index in order]

    def judge(self, slot: QuerySlot, digest: str, answer: ChatAnswer) -> tuple[Utterance, Verdict]:
        """The query in an answer as a voice would read it, and what the rules say of its words."""
        said = self._rules.said_in_query(slot, clean(answer.text))
        verdict = judged(answer, said, self._rules.on_query)
        return said, self._strikes.over(digest, verdict)

    def arrive(self, attempt: int, index: int, candidate: Candidate) -> None:
        """Takes in one attempt, to be decided when all before it are."""
        self._arrived[attempt, index] = candidate
        if self._rounds[attempt] and self._rounds[attempt][0] == index:
            self._something_to_judge.set()

    def stop(self) -> None:
        """Has `run` return before everything is decided."""
        self._stopped = True
        self._something_to_judge.set()

    async def run(self) -> None:
        """Decides the queries in their order, each as soon as all before it are decided."""
        if any(self._rounds.values()):  # a model that cannot be had is known at once
            await asyncio.to_thread(self._embedder.load)
        for attempt in range(self._max_attempts):
            while self._rounds[attempt] and not self._stopped:
                block = self._next_block(attempt)
                if block:
                    await self._decide(attempt, block)
                else:
                    self._something_to_judge.clear()
                    await self._something_to_judge.wait()

    def _next_block(self, attempt: int) -> list[int]:
        """The slots at the head of a round whose answers are there."""
        order = self._rounds[attempt]
        block: list[int] = []
        while order and len(block) < JUDGE_AT_ONCE and (attempt, order[0]) in self._arrived:
            block.append(order.popleft())
        return block

    async def _decide(self, attempt: int, block: list[int]) -> None:
        candidates = [self._arrived.pop((attempt, index)) for index in block]
        decided = [
            Decision(
                self.slots[index].id,
                attempt,
                candidate.digest,
                candidate.verdict.reason,
                text=candidate.answer,
            )
            for index, candidate in zip(block, candidates, strict=True)
        ]
        usable = [
            (decision.name, candidate.text)
            for decision, candidate in zip(decided, candidates, strict=True)
            if decision.reason in PLACED
        ]
        likenesses = {found.id: found for found in await asyncio.to_thread(self._compare, usable)}
        decisions = []
        for decision in decided:
            if found := likenesses.get(decision.name):
                decision = replace(
                    decision,
                    reason=decision.reason if found.accepted else NEAR_DUPLICATE,
                    nearest=found.nearest_id,
                    similarity=found.similarity,
                )
            decisions.append(decision)
        await asyncio.to_thread(self._put_on_file, decisions)
        for index, decision, candidate in zip(block, decisions, candidates, strict=True):
            following = attempt + 1
            if decision.reason and following < self._max_attempts:
                self._rounds[following].append(index)
            self._follow(index, decision, candidate.verdict)

    def _put_on_file(self, decisions: list[Decision]) -> None:
        self._store.sync()  # a decision must not outlive the answers it rests on
        self._decisions.add(decisions)

    def _compare(self, named: list[tuple[str, str]]) -> list[Likeness]:
        if not named:
            return []
        begun = time.monotonic()
        vectors = self._embed([text for _, text in named])
        embedded = time.monotonic()
        found = self._accepted.judge([slot_id for slot_id, _ in named], vectors)
        facts = {
            "queries": len(named),
            "accepted_before": len(self._accepted) - sum(verdict.accepted for verdict in found),
            "embedding_seconds": round(embedded - begun, 3),
            "search_seconds": round(time.monotonic() - embedded, 3),
        }
        log.info("near-duplicates", extra=facts)
        return found

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        return self._embedder.stored(self._store.embeddings, texts)
