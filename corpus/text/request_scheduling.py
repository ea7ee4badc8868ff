"""Writes the corpus's texts: every query and every response, until each slot is full.

One budget of requests in flight serves all of them; whenever it has room, the next request is as
`corpus.text.waiting` has it. So the server is kept busy from the first query to the last response,
while `corpus.text.queries` keeps the decisions in their fixed order: what is asked next depends on
time, what is kept never does.

In a dialogue the next query is due when the response before it stands, and is judged like one. So a
dialogue's requests follow each other, while those of hundreds of others are under way.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial

from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.errors import SympatheiaError, root_cause
from corpus.judge.readable_answers import TRIES
from corpus.plan.rules import Rules, Verdict
from corpus.run.open_run import OpenRun
from corpus.run.stop_when_most_refused import FirstVerdicts, shown_text
from corpus.servers.chat_requests import ChatAnswer, ChatRequest, remedy
from corpus.servers.retry_and_failover import Open
from corpus.speech.accepted_texts import AcceptedTexts
from corpus.text import queries, responses
from corpus.text.assessment import graders
from corpus.text.assessment.closeness import Closeness, judged_by_closeness
from corpus.text.choice import Attempt, Choice, Kind
from corpus.text.lost_answers import ask_for_lost
from corpus.text.queries import (
    Decision,
    Decisions,
    answered,
    judged,
    query_request,
    text_digest,
)
from corpus.text.query_decision_order import Candidate, QueryJudging
from corpus.text.responses import Due, Filled, Kept, Written
from corpus.text.waiting import Waiting
from corpus.text.wording.cleaning import clean
from corpus.text.wording.text_rejection_rules import OFF_TOPIC
from corpus.text.wording.text_rules import TextRules
from corpus.text.wording.utterance import Utterance
from schemas.slots import PairSlot, QuerySlot

_TOLD = ("texts", "read", "the text server")
"""What is told of, what a person is to do with it, and who makes it."""


class Writing:
    """One run of the text stage; `run` does everything.

    Args:
        at_work: what is to be written, and where what was written lies.
        decisions: what was decided about queries until now.
        pool: opens the servers that write, when there is something to ask.
        embedder: embeds texts, to be compared.
        with_responses: whether responses are written too.
        accepted: takes what fills a slot, for a voice that does not wait for the others.
    """

    def __init__(
        self,
        at_work: OpenRun,
        decisions: Decisions,
        pool: Open,
        embedder: EmbeddingProcess,
        *,
        with_responses: bool,
        accepted: AcceptedTexts | None = None,
    ) -> None:
        self._run = at_work
        self._blueprint = at_work.blueprint
        self._llm = at_work.blueprint.recipe.llm
        self._plan = at_work.blueprint.plan
        self._store = at_work.store
        self._decisions = decisions
        self._pool = pool
        self._with_responses = with_responses
        self._accepted = accepted
        self._progress = at_work.progress
        self._rules = TextRules(at_work.blueprint)
        self._closeness = Closeness(embedder, at_work.store.embeddings)
        self._queries = QueryJudging(
            at_work, self._rules, decisions, embedder, self._closeness, self._follow_decision
        )
        follow_ups = {slot.id for slot in self._plan.queries() if not slot.opens}
        self.written = Written()
        if with_responses:
            self.written = Written.on_file(at_work.folder, follow_ups)
        self._first_queries = FirstVerdicts(
            self._rules.of_queries, *_TOLD, partial(remedy, section="llm.queries")
        )
        self._responses = Kind(
            responses.STAGE,
            self.written.responses,
            self._choice(self.written.responses, self._llm.responses.candidates),
            self._rules.of_responses,
            FirstVerdicts(
                self._rules.of_responses,
                *_TOLD,
                lambda reason: graders.remedy(reason) or remedy(reason, "llm.responses"),
            ),
            graders.graders(at_work.blueprint),
        )
        self._follow_ups = Kind(
            queries.STAGE,
            self.written.follow_ups,
            self._choice(self.written.follow_ups),
            self._rules.of_queries,
            self._first_queries,
        )

        self._waiting = Waiting()
        self._budget = asyncio.Semaphore(self._llm.concurrency)
        self._jobs = 0
        self._judging = True
        self._gave_up = False
        self._something_to_ask = asyncio.Event()

    def _choice(self, filled: Filled, candidates: int = 1) -> Choice:
        return Choice(self._blueprint, filled, self._run.strikes, candidates)

    def _kind(self, due: Due) -> Kind:
        return self._responses if isinstance(due.slot, PairSlot) else self._follow_ups

    async def run(self) -> Written:
        """Fills every slot.

        Raises:
            SympatheiaError: slots ran out of attempts, or the servers failed for too long; all
                that was answered until then is kept.
        """
        await ask_for_lost(self._run, self._decisions, self._ask_again)
        await self._resume()
        try:
            async with asyncio.TaskGroup() as group:
                # In a thread, while the first requests are under way.
                self._rules_loaded = group.create_task(asyncio.to_thread(self._rules.load))
                group.create_task(self._judge())
                await self._dispatch(group)
        except ExceptionGroup as errors:
            raise root_cause(errors) from None
        for first in (self._first_queries, self._responses.first):
            if first.culprit:
                raise SympatheiaError(first.sentence())
        if self.written.exhausted:
            raise SympatheiaError(self.written.shortage(self._plan, self._llm.max_attempts))
        return self.written

    async def _resume(self) -> None:
        """Counts what stands and lines up what is open."""
        standing = await self._queries.resume()
        for slot in self._queries.slots:
            history = self._decisions.of(slot.id)
            for decision in history:
                self._first_queries.on_file(slot.id, accepted=decision.reason is None)
                if decision.reason:
                    self._progress.refused(queries.STAGE, slot.cell, decision.reason)
            if slot.id in standing:
                self._accept(slot, len(history) - 1, history[-1].digest, standing[slot.id])
            elif len(history) >= self._llm.max_attempts:
                self._exhaust(slot.id, history)
        still_open = self._queries.open()
        self._waiting.first = iter([index for attempt, index in still_open if not attempt])
        self._waiting.refills = [(attempt, index) for attempt, index in still_open if attempt]

    async def _judge(self) -> None:
        """Decides the queries as they come in."""
        await self._queries.run()
        self._judging = False
        self._something_to_ask.set()

    # Asking

    async def _dispatch(self, group: asyncio.TaskGroup) -> None:
        """Starts a job, of one request each, whenever the budget has room for it."""

        async def counted(job: Coroutine[None, None, None]) -> None:
            await job
            self._jobs -= 1
            self._something_to_ask.set()

        def begin(job: Coroutine[None, None, None]) -> None:
            try:
                task = group.create_task(counted(job))
            except RuntimeError:  # the group is ending, because another job failed
                job.close()
                raise
            task.add_done_callback(lambda _: job.close())  # a group that ends may never begin it

        while not self._gave_up:
            await self._budget.acquire()
            while (job := self._take()) is None:
                if not self._judging and not self._jobs:
                    return
                self._something_to_ask.clear()
                await self._something_to_ask.wait()
            self._jobs += 1
            begin(job)

    def _take(self) -> Coroutine[None, None, None] | None:
        """The next job, or None while there is nothing to ask."""
        if self._gave_up:
            return None
        return self._waiting.take(self._ask_query, self._ask_grader, self._ask_due)

    async def _answer(
        self, request: ChatRequest, digest: str, what: str
    ) -> tuple[ChatAnswer, bool]:
        """The answer to a job's request, and whether it was asked for just now.

        Then the budget has room again.
        """
        try:
            return await answered(self._run, self._pool, request, digest, what)
        finally:
            # Before the verdict: the server must not stand idle while it is found.
            self._budget.release()

    async def _ask_again(self, request: ChatRequest, digest: str, what: str) -> ChatAnswer:
        await self._budget.acquire()
        return (await self._answer(request, digest, what))[0]

    # Queries

    async def _ask_query(self, index: int, attempt: int) -> None:
        slot = self._queries.slots[index]
        request = query_request(self._blueprint, slot, attempt)
        digest = request.digest()
        answer, now = await self._answer(request, digest, f"{slot.id}, attempt {attempt}")
        await self._rules_loaded
        said, verdict = self._queries.judge(slot, digest, answer)
        topic = self._plan.topic(slot, attempt)
        said, verdict = await self._compared(self._rules.of_queries, said, topic, verdict)
        text = said.text
        if verdict.reason is None and not self._rules.of_queries.asks(OFF_TOPIC):
            # As else it would be: embedded while it waits for its turn to be compared with others.
            await self._closeness.of(text, text)
        if now:
            self._first_queries.add(slot.id, verdict.reason, said, shown_text(slot.id, text))
            self._stop_at_culprit(self._first_queries)
        else:
            self._first_queries.on_file(slot.id, accepted=False)
        self._queries.arrive(attempt, index, Candidate(text, digest, text_digest(answer), verdict))

    def _follow_decision(self, index: int, decision: Decision, verdict: Verdict) -> None:
        """Lets what follows from a decision begin."""
        slot = self._queries.slots[index]
        if decision.reason is None:
            self._accept(slot, decision.attempt, decision.digest, verdict)
        else:
            self._progress.refused(queries.STAGE, slot.cell, decision.reason)
            if decision.attempt + 1 < self._llm.max_attempts:
                self._waiting.refill(decision.attempt + 1, index)
            else:
                self._exhaust(slot.id, self._decisions.of(slot.id))
        self._something_to_ask.set()

    def _accept(self, slot: QuerySlot, attempt: int, digest: str, verdict: Verdict) -> None:
        self._progress.filled(queries.STAGE, slot.cell)
        self._progress.reported(queries.STAGE, verdict.reported)
        self._hand_on(slot, digest)
        if self._with_responses:
            topic = self._plan.topic(slot, attempt)
            self._waiting.ready.extend(
                Due(pair, digest, topic) for pair in self._plan.pairs_of(slot)
            )

    # What follows

    async def _ask_due(self, due: Due) -> None:
        kind, asked, slot = self._kind(due), due.read(self._store), due.slot
        number, request = kind.choice.next_request(asked)
        digest = request.digest()
        answer, now = await self._answer(request, digest, f"{slot.id}, attempt {number}")
        await self._rules_loaded
        text = clean(answer.text)
        if isinstance(slot, PairSlot):
            said = self._rules.said_in_response(slot, asked.query, text, asked.said)
            verdict, about = judged(answer, said, self._rules.on_response), asked.query
        else:
            said = self._rules.said_in_query(slot, text, asked.said)
            verdict, about = judged(answer, said, self._rules.on_query), asked.said[-1].response
        verdict = self._run.strikes.over(digest, verdict)
        said, verdict = await self._compared(
            kind.rules, said, about, verdict, anyway=kind.choice.compares
        )
        self._next_grader(Attempt(asked, Kept(number, digest), said, verdict, now), 0)

    def _next_grader(self, attempt: Attempt, number: int) -> None:
        """Has what nothing has refused yet shown to the next model that grades, if there is one."""
        there = number < len(self._kind(attempt.asked.due).graders)
        if attempt.verdict.reason is None and there:
            self._waiting.ungraded.append((attempt, number, 0))
        else:
            self._settle(attempt, attempt.verdict.reason)

    async def _ask_grader(self, attempt: Attempt, number: int, tried: int) -> None:
        asked, kept = attempt.asked, attempt.kept
        grader, slot = self._kind(asked.due).graders[number], asked.due.slot
        assert isinstance(slot, PairSlot)
        request = grader.request(slot, asked.query, attempt.said.text, tried, asked.said)
        what = f"{grader.says} {slot.id}, attempt {kept.attempt}"
        opinion = grader.read((await self._answer(request, request.digest(), what))[0])
        if opinion is None and tried + 1 < TRIES:
            self._waiting.ungraded.append((attempt, number, tried + 1))
        elif opinion is None:
            self._settle(attempt, grader.unreadable)
        elif opinion.reason:
            self._settle(attempt, opinion.reason)
        else:
            grades = opinion.grades or kept.grades
            self._next_grader(replace(attempt, kept=replace(kept, grades=grades)), number + 1)

    def _settle(self, attempt: Attempt, reason: str | None) -> None:
        due = attempt.asked.due
        kind, slot = self._kind(due), due.slot
        if attempt.made_now:
            shown = shown_text(slot.id, attempt.said.text)
            kind.first.add(slot.id, reason, attempt.said, shown)
            self._stop_at_culprit(kind.first)
        else:
            kind.first.on_file(slot.id, accepted=reason is None)
        outcome = kind.choice.settle(attempt, reason)
        for refused in outcome.refused:
            self._progress.refused(kind.stage, slot.cell, refused)
        if outcome.kept:
            self._progress.filled(kind.stage, slot.cell)
            self._progress.reported(kind.stage, outcome.kept.verdict.reported)
            self._hand_on(slot, outcome.kept.kept.digest)
            self._go_on(due, outcome.kept.kept.digest)
        elif outcome.ended:
            self._exhaust(slot.id, kind.filled.refused[slot.id])
        else:
            self._waiting.again.append(due)

    def _go_on(self, due: Due, digest: str) -> None:
        """Has what follows on a text be due, now that it stands."""
        if isinstance(due.slot, QuerySlot):
            pairs = self._plan.pairs_of(due.slot)
            self._waiting.ready.extend(replace(due, slot=pair, answers=digest) for pair in pairs)
        elif following := self._plan.next_turn(due.slot):
            said = (*due.said, (due.answers, digest))
            self._waiting.ready.append(Due(following, topic=due.topic, said=said))

    # Both

    async def _compared(
        self,
        rules: Rules[Utterance],
        said: Utterance,
        about: str,
        verdict: Verdict,
        *,
        anyway: bool = False,
    ) -> tuple[Utterance, Verdict]:
        """What was said and the verdict on it, once it is known how close it is to another text."""
        if verdict.reason or not (anyway or rules.asks(OFF_TOPIC)):
            return said, verdict
        return judged_by_closeness(rules, said, await self._closeness.of(said.text, about), verdict)

    def _hand_on(self, slot: QuerySlot | PairSlot, digest: str) -> None:
        """Lets a text be spoken: nothing that comes later takes it out of its slot."""
        if self._accepted is not None:
            self._accepted.put(slot, digest)

    # Running out of attempts, or into one rule all the time

    def _stop_at_culprit(self, first: FirstVerdicts[Utterance]) -> None:
        if first.culprit:
            self._stop()

    def _exhaust(self, slot_id: str, refused: list[Decision]) -> None:
        self.written.exhausted[slot_id] = Counter(decision.reason or "" for decision in refused)
        if self.written.gave_up:
            self._stop()

    def _stop(self) -> None:
        """Has nothing more be asked; what is under way ends."""
        self._gave_up = True
        self._queries.stop()
        self._something_to_ask.set()
