"""Queries: how one is asked for, and which of those that come back are kept.

A query is kept or rejected in one total order, whatever order the answers arrive in: by attempt
first, then by slot. All first attempts are judged in slot order; then all second attempts of the
slots that are still open, again in slot order; and so on. An answer is judged as soon as every
answer before it in this order has been. So the outcome depends on the answers alone, never on
their timing, and a query that is accepted is final at once: its responses need not wait for the
slots behind it, nor its refills for anything but the attempts before them.

What was decided is on file in that order (`decisions.jsonl`). A run that is killed goes on where
the file ends. In a run that grows, the accepted queries on file stand, in their places, and new
slots are judged against them; a query leaves only when the request that made it is no longer in
the plan, or when it breaks a rule of today. Its slot's attempts are then judged anew, in order,
from the answers in the store, before another is asked for.

In a dialogue a query that follows on a response is compared with no other, and judged as responses
are: see `corpus.text.responses`.

A query that a person struck gives its slot to the next attempt. It stays among those that others
must not resemble, so that it can take its place again if the strike is taken back.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import NoneType
from typing import Any

from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.plan.rules import Verdict
from corpus.plan.subsets.subset import Exchange
from corpus.plan.user_input import one_line
from corpus.run.open_run import OpenRun
from corpus.run.strikes import STRUCK_IN_REVIEW, Strikes
from corpus.servers.chat_requests import ChatAnswer, ChatRequest, complete, problem
from corpus.servers.retry_and_failover import Open
from corpus.store.digest_store import Store
from corpus.store.line_log import Log, damaged
from corpus.store.segments import DIGEST_CHARS
from corpus.text.wording.cleaning import clean
from corpus.text.wording.utterance import Utterance
from schemas.slots import QuerySlot

STAGE = "queries"
ACCEPTED = "accepted"
NEAR_DUPLICATE = "near_duplicate"
LEFT = "left"
"""Verdicts on file beside the names of the text rules. A slot has 'left' when a request of it is
no longer in the plan, or when the rules of today decide otherwise: its attempts are judged anew."""


def query_request(
    blueprint: Blueprint,
    slot: QuerySlot,
    attempt: int,
    topic: str | None = None,
    said: Sequence[Exchange] = (),
) -> ChatRequest:
    """The request that makes one attempt at one query.

    Args:
        blueprint: what is to be made.
        slot: of the query.
        attempt: which one.
        topic: of the dialogue, if it has begun; else the attempt's own.
        said: what was said before.
    """
    llm, plan = blueprint.recipe.llm, blueprint.plan
    about = plan.topic(slot, attempt) if topic is None else topic
    messages = blueprint.ask_query(slot, about, said)
    return ChatRequest.sampled(
        llm.model, messages, llm.queries, plan.seed("query", slot.id, attempt)
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about one attempt.

    `reason` is None when it was accepted; `text` is the `text_digest` of the answer, which releases
    up to 0.2.0 did not note.
    """

    slot: str
    attempt: int
    digest: str
    reason: str | None = None
    nearest: str | None = None
    similarity: float | None = None
    text: str | None = None

    @property
    def name(self) -> str:
        """What those that resemble it name it by: its slot, with the attempt if it was struck."""
        return f"{self.slot}#{self.attempt}" if self.reason == STRUCK_IN_REVIEW else self.slot


_KINDS: dict[str, tuple[type, ...]] = {
    "slot": (str,),
    "attempt": (int,),
    "digest": (str,),
    "nearest": (str, NoneType),
    "similarity": (float, NoneType),
    "text": (str, NoneType),
}


def text_digest(answer: ChatAnswer) -> str:
    """SHA-256 of an answer's text, by which it is known again."""
    return sha256(answer.text.encode()).hexdigest()


class Decisions:
    """The decisions of a run, on file, in the order in which they were taken.

    Raises:
        SympatheiaError: the file was changed on disk.
    """

    def __init__(self, path: Path) -> None:
        self._log = Log(path)
        try:
            self._by_slot = standing(self._log.entries, path)
        except SympatheiaError:
            self._log.close()
            raise
        self._log.entries.clear()

    def of(self, slot: str) -> list[Decision]:
        """The decisions about a slot, by attempt; only the last can be an acceptance."""
        return self._by_slot.get(slot, [])

    def add(self, decisions: list[Decision]) -> None:
        """Puts decisions on file, in order.

        Raises:
            OSError: the disk is full or fails; none of them is kept.
        """
        self._log.append([_entry(decision) for decision in decisions])
        for decision in decisions:
            self._by_slot[decision.slot].append(decision)

    def settle(
        self, slots: Iterable[QuerySlot], digest_of: Callable[[QuerySlot, int], str]
    ) -> None:
        """Lets go of every decision about a request that is no longer in the plan.

        Args:
            slots: all slots of the plan.
            digest_of: the digest of the request that the plan has for an attempt at a slot.
        """
        planned: set[str] = set()
        gone: list[str] = []
        for slot in slots:
            planned.add(slot.id)
            if any(d.digest != digest_of(slot, d.attempt) for d in self.of(slot.id)):
                gone.append(slot.id)
        gone += [slot_id for slot_id in self._by_slot if slot_id not in planned]
        self.let_go(gone)

    def review(self, strikes: Strikes) -> None:
        """Has what people struck be refused, and what they no longer strike stand again.

        What was refused before it stays refused, so that taking a strike back gives what was.
        """
        changed = {}
        for slot_id, history in self._by_slot.items():
            reviewed = _reviewed(history, strikes)
            if reviewed != history:
                changed[slot_id] = reviewed
        entries: list[dict[str, object]] = []
        for slot_id, history in changed.items():
            entries += [{"slot": slot_id, "verdict": LEFT}, *map(_entry, history)]
        self._log.append(entries)
        self._by_slot.update(changed)

    def let_go(self, slot_ids: Iterable[str]) -> None:
        """Takes back every decision about some slots, to be taken anew.

        Raises:
            OSError: the disk is full or fails; all of them stand.
        """
        gone = list(slot_ids)
        self._log.append([{"slot": slot_id, "verdict": LEFT} for slot_id in gone])
        for slot_id in gone:
            del self._by_slot[slot_id]

    def close(self) -> None:
        """Closes the file."""
        self._log.close()


def standing(entries: Iterable[dict[str, Any]], path: Path) -> defaultdict[str, list[Decision]]:
    """What stands of the decisions on file, by slot, each slot's by attempt.

    Args:
        entries: in the order in which they were taken.
        path: where they were read.

    Raises:
        SympatheiaError: the file was changed on disk.
    """
    by_slot: defaultdict[str, list[Decision]] = defaultdict(list)
    for number, entry in enumerate(entries, start=1):
        try:
            if entry["verdict"] == LEFT:
                by_slot.pop(str(entry["slot"]), None)
            else:
                decision = _decision(entry)
                _require_next(decision, by_slot[decision.slot])
                by_slot[decision.slot].append(decision)
        except (KeyError, TypeError, ValueError) as error:
            why = f"line {number} is no decision: {one_line(str(error))}"
            raise damaged(path, why) from error
    return by_slot


def _reviewed(history: list[Decision], strikes: Strikes) -> list[Decision]:
    """The decisions about a slot, as those who reviewed them have it now."""
    for number, decision in enumerate(history):
        if strikes.taken_back(decision.digest, decision.reason):
            return [*history[:number], replace(decision, reason=None)]
    *before, last = history
    if last.reason is None and strikes.reason(last.digest) == STRUCK_IN_REVIEW:
        return [*before, replace(last, reason=STRUCK_IN_REVIEW)]
    return history


def _require_next(decision: Decision, history: list[Decision]) -> None:
    if decision.attempt != len(history) or any(earlier.reason is None for earlier in history):
        raise ValueError(f"attempt {decision.attempt} does not follow")


def _entry(decision: Decision) -> dict[str, object]:
    return {
        "slot": decision.slot,
        "attempt": decision.attempt,
        "digest": decision.digest,
        "verdict": decision.reason or ACCEPTED,
        "nearest": decision.nearest,
        "similarity": decision.similarity,
        "text": decision.text,
    }


def _decision(entry: dict[str, Any]) -> Decision:
    """The decision of an entry.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    verdict = entry["verdict"]
    rest = {name: value for name, value in entry.items() if name != "verdict"}
    decision = Decision(reason=None if verdict == ACCEPTED else str(verdict), **rest)
    for name, kinds in _KINDS.items():
        if not isinstance(getattr(decision, name), kinds):
            raise TypeError(f"its {name} is {getattr(decision, name)!r}")
    if len(bytes.fromhex(decision.digest)) != DIGEST_CHARS // 2:
        raise ValueError(f"its digest is {decision.digest!r}")
    return decision


def judged(answer: ChatAnswer, said: Utterance, judge: Callable[[Utterance], Verdict]) -> Verdict:
    """The verdict on an answer.

    Args:
        answer: what came back; one that cannot be used whatever it says is not judged.
        said: what it says.
        judge: gives the verdict on that.
    """
    unusable = problem(answer)
    return Verdict(unusable) if unusable else judge(said)


def stored_answer(store: Store, digest: str) -> ChatAnswer:
    """The answer that a decision was taken on.

    Raises:
        SympatheiaError: the store has lost it since the run was opened.
    """
    return ChatAnswer.from_dict(store.completions.require(digest))


async def answered(
    run: OpenRun, pool: Open, request: ChatRequest, digest: str, what: str
) -> tuple[ChatAnswer, bool]:
    """The answer to a request, from the store or from a server, and whether it came just now.

    Raises:
        SympatheiaError: the servers failed for too long, or the run has used up its limits.
        OSError: the disk is full or fails.
    """
    stored = run.store.completions.get(digest)
    if stored is not None:
        return ChatAnswer.from_dict(stored), False
    async with run.budget.asking():
        answer = await complete(await pool(), request, what)
        run.store.completions.put(digest, answer.to_dict())
    return answer, True


def accepted_text(store: Store, digest: str) -> str:
    """The text that was accepted under a digest, as a voice would read it.

    Raises:
        SympatheiaError: the store has lost the answer since the run was opened.
    """
    return clean(stored_answer(store, digest).text)
