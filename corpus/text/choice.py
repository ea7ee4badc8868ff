"""Which text is kept in each slot: the first good one, or the best response of several.

A slot's attempts are settled one after the other. What stood when the tables were last written is
settled first, and keeps its slot while nothing refuses it. Else as many good attempts are made as
the recipe has candidates, and the one closest to its query is kept, of equals the first. So what is
kept follows from the answers alone, whenever they came.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from corpus.plan.blueprint import Blueprint
from corpus.plan.rules import Rules, Verdict
from corpus.run.stop_when_most_refused import FirstVerdicts
from corpus.run.strikes import Strikes
from corpus.servers.chat_requests import ChatRequest
from corpus.text.assessment.graders import Grader
from corpus.text.queries import Decision
from corpus.text.responses import Filled, Kept, ReadDue
from corpus.text.wording.utterance import Utterance

NOT_BEST = "not_best"
"""The reason of a good response to which another is preferred."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a text, with what the text rules say of it.

    Attributes:
        asked: what was due.
        kept: where it is.
        said: what it says.
        verdict: of the text rules.
        made_now: whether it was asked for just now.
    """

    asked: ReadDue
    kept: Kept
    said: Utterance
    verdict: Verdict
    made_now: bool

    @property
    def slot_id(self) -> str:
        """Of the slot that it is to fill."""
        return self.asked.due.slot.id


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


class Choice:
    """Settles the attempts at the texts of one kind.

    Args:
        blueprint: what is to be made.
        filled: what stands, and where what is kept and what is refused goes.
        strikes: the texts that are not to stay.
        candidates: good attempts among which one is chosen.
    """

    def __init__(
        self, blueprint: Blueprint, filled: Filled, strikes: Strikes, candidates: int = 1
    ) -> None:
        self._blueprint, self._filled, self._strikes = blueprint, filled, strikes
        self._candidates = candidates
        self._max_attempts = blueprint.recipe.llm.max_attempts
        self._good: defaultdict[str, list[Attempt]] = defaultdict(list)

    @property
    def compares(self) -> bool:
        """Whether it has to be known how close texts are to what they follow on."""
        return self._candidates > 1

    def next_request(self, asked: ReadDue) -> tuple[int, ChatRequest]:
        """The attempt to be looked at next: what stands, then the first that was not tried."""
        slot_id = asked.due.slot.id
        standing = self._filled.standing.kept.get(slot_id)
        if standing:
            request = asked.request(self._blueprint, standing.attempt)
            if request.digest() == standing.digest and not self._one_is_back(asked):
                return standing.attempt, request
            # It is no longer in the plan, or one that a person struck is to stand again.
            del self._filled.standing.kept[slot_id]
        tried = set(self._tried(slot_id))
        attempt = next(number for number in count() if number not in tried)
        return attempt, asked.request(self._blueprint, attempt)

    def _one_is_back(self, asked: ReadDue) -> bool:
        """Whether one that was struck in review before what stands is struck no more."""
        return any(
            self._strikes.taken_back(
                asked.request(self._blueprint, row["attempt"]).digest(), row["reason"]
            )
            for row in self._filled.standing.rows(asked.due.slot.id)
        )

    def _tried(self, slot_id: str) -> Iterator[int]:
        yield from (decision.attempt for decision in self._filled.refused[slot_id])
        yield from (attempt.kept.attempt for attempt in self._good[slot_id])

    def settle(self, attempt: Attempt, reason: str | None) -> Outcome:
        """Takes in an attempt, with the reason to refuse it if there is one."""
        slot_id, standing = attempt.slot_id, self._filled.standing
        if reason is None and slot_id in standing.kept:
            before = [row["reason"] for row in standing.rows(slot_id)]
            return self._keep(attempt, before)
        standing.kept.pop(slot_id, None)
        refused = []
        if reason is None:
            self._good[slot_id].append(attempt)
        else:
            self._refuse(attempt, reason)
            refused.append(reason)
        good, tried = self._good[slot_id], len(list(self._tried(slot_id)))
        if len(good) < self._candidates and tried < self._max_attempts:
            return Outcome(refused=refused, ended=False)
        if not good:
            return Outcome(refused=refused)
        best = max(good, key=lambda one: (one.said.closeness, -one.kept.attempt))
        for other in self._good.pop(slot_id):
            if other is not best:
                self._refuse(other, NOT_BEST)
                refused.append(NOT_BEST)
        return self._keep(best, refused)

    def _keep(self, attempt: Attempt, refused: list[str]) -> Outcome:
        self._filled.kept[attempt.slot_id] = attempt.kept
        return Outcome(attempt, refused)

    def _refuse(self, attempt: Attempt, reason: str) -> None:
        slot_id, kept = attempt.slot_id, attempt.kept
        decision = Decision(slot_id, kept.attempt, kept.digest, reason)
        self._filled.refused[slot_id].append(decision)


@dataclass(frozen=True, slots=True)
class Kind:
    """Texts that are due when others stand: responses, or the queries that follow on them.

    Attributes:
        stage: by which they are counted.
        filled: what is made of them.
        choice: says which is kept.
        rules: that they are held to.
        first: watches whether most are refused.
        graders: models that are asked of each.
    """

    stage: str
    filled: Filled
    choice: Choice
    rules: Rules[Utterance]
    first: FirstVerdicts[Utterance]
    graders: Sequence[Grader] = ()
