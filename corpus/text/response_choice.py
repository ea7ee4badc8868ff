"""Which response is kept in each slot: the first good one, or the best of several.

A slot's attempts are settled one after the other. What stood when the tables were last written is
settled first, and keeps its slot while nothing refuses it. Else as many good attempts are made as
the recipe has candidates, and the one closest to its query is kept, of equals the first. So what is
kept follows from the answers alone, whenever they came.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from corpus.plan.blueprint import Blueprint
from corpus.plan.rules import Verdict
from corpus.run.strikes import Strikes
from corpus.servers.chat_requests import ChatRequest
from corpus.text.queries import Decision
from corpus.text.responses import Kept, Written, response_request
from corpus.text.utterance import Utterance
from schemas.slots import PairSlot

NOT_BEST = "not_best"
"""The reason of a good response to which another is preferred."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a response, with what the text rules say of it.

    Attributes:
        slot: of the pair.
        query: what it answers, and the digest that it was accepted under.
        query_digest: likewise.
        kept: where it is.
        said: what it says.
        verdict: of the text rules.
        made_now: whether it was asked for just now.
    """

    slot: PairSlot
    query: str
    query_digest: str
    kept: Kept
    said: Utterance
    verdict: Verdict
    made_now: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from a settled attempt: what is kept, if that is known, and what gave way.

    Attributes:
        kept: fills the slot.
        refused: the reasons of attempts that are refused by now.
        ended: whether no other attempt is made.
    """

    kept: Attempt | None = None
    refused: list[str] = field(default_factory=list)
    ended: bool = True


class ResponseChoice:
    """Settles the attempts at the responses of one plan.

    Args:
        blueprint: what is to be made.
        written: what stands, and where what is kept and what is refused goes.
        strikes: the texts that are not to stay.
    """

    def __init__(self, blueprint: Blueprint, written: Written, strikes: Strikes) -> None:
        self._blueprint, self._written, self._strikes = blueprint, written, strikes
        self._candidates = blueprint.recipe.llm.responses.candidates
        self._max_attempts = blueprint.recipe.llm.max_attempts
        self._good: defaultdict[str, list[Attempt]] = defaultdict(list)

    @property
    def compares(self) -> bool:
        """Whether it has to be known how close responses are to their queries."""
        return self._candidates > 1

    def next_request(self, slot: PairSlot, query: str) -> tuple[int, ChatRequest]:
        """The attempt to be looked at next: what stands, then the first that was not tried."""
        standing = self._written.standing.kept.get(slot.id)
        if standing:
            request = response_request(self._blueprint, slot, query, standing.attempt)
            if request.digest() == standing.digest and not self._one_is_back(slot, query):
                return standing.attempt, request
            # It is no longer in the plan, or one that a person struck is to stand again.
            del self._written.standing.kept[slot.id]
        tried = set(self._tried(slot))
        attempt = next(number for number in count() if number not in tried)
        return attempt, response_request(self._blueprint, slot, query, attempt)

    def _one_is_back(self, slot: PairSlot, query: str) -> bool:
        """Whether one that was struck in review before what stands is struck no more."""
        return any(
            self._strikes.taken_back(
                response_request(self._blueprint, slot, query, row["attempt"]).digest(),
                row["reason"],
            )
            for row in self._written.standing.rows(slot.id)
        )

    def _tried(self, slot: PairSlot) -> Iterator[int]:
        yield from (decision.attempt for decision in self._written.refused_responses[slot.id])
        yield from (attempt.kept.attempt for attempt in self._good[slot.id])

    def settle(self, attempt: Attempt, reason: str | None) -> Outcome:
        """Takes in an attempt, with the reason to refuse it if there is one."""
        slot, standing = attempt.slot, self._written.standing
        if reason is None and slot.id in standing.kept:
            before = [row["reason"] for row in standing.rows(slot.id)]
            return self._keep(attempt, before)
        standing.kept.pop(slot.id, None)
        refused = []
        if reason is None:
            self._good[slot.id].append(attempt)
        else:
            self._refuse(attempt, reason)
            refused.append(reason)
        good, tried = self._good[slot.id], len(list(self._tried(slot)))
        if len(good) < self._candidates and tried < self._max_attempts:
            return Outcome(refused=refused, ended=False)
        if not good:
            return Outcome(refused=refused)
        best = max(good, key=lambda one: (one.said.closeness, -one.kept.attempt))
        for other in self._good.pop(slot.id):
            if other is not best:
                self._refuse(other, NOT_BEST)
                refused.append(NOT_BEST)
        return self._keep(best, refused)

    def _keep(self, attempt: Attempt, refused: list[str]) -> Outcome:
        self._written.responses[attempt.slot.id] = attempt.kept
        return Outcome(attempt, refused)

    def _refuse(self, attempt: Attempt, reason: str) -> None:
        slot, kept = attempt.slot, attempt.kept
        decision = Decision(slot.id, kept.attempt, kept.digest, reason)
        self._written.refused_responses[slot.id].append(decision)
