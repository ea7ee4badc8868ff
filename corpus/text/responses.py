"""Responses, and queries that follow on one: how each is asked for, and which on file stand.

A response depends on its own query and anchor alone, and a later turn of a dialogue on what was
said before it, so each is judged the moment it arrives. What was accepted when the tables on file
were written is looked at first, and stays while it passes, with what was refused before it.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.plan.slot_layout import Plan
from corpus.plan.subsets.subset import Exchange
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import Row, read_rows
from corpus.servers.chat_requests import ChatRequest
from corpus.store.digest_store import Store
from corpus.text import queries
from corpus.text.assessment.llm_judge import Grades
from corpus.text.queries import Decision, accepted_text, query_request
from schemas.slots import PairSlot, QuerySlot

STAGE = "responses"

GIVE_UP_AFTER = 20
"""Slots that may run out of attempts before the run stops; until then the others are finished,
because one unlucky slot should not cost a night, and a broken prompt should not cost a budget."""


def response_request(
    blueprint: Blueprint,
    slot: PairSlot,
    query: str,
    attempt: int,
    said: Sequence[Exchange] = (),
) -> ChatRequest:
    """The request that makes one attempt at one response."""
    llm = blueprint.recipe.llm
    messages = blueprint.room(slot).ask_response(slot, query, said)
    seed = blueprint.plan.seed("response", slot.id, attempt)
    return ChatRequest.sampled(llm.model, messages, llm.responses, seed)


@dataclass(frozen=True, slots=True)
class Due:
    """A text that may be written, because all that it follows on stands.

    Attributes:
        slot: of a pair, whose response it is, or of a query that follows on a response.
        answers: the digest under which the query of a response stands; empty of a query.
        topic: of a dialogue.
        said: of each exchange before, the digests under which its query and its response stand.
    """

    slot: PairSlot | QuerySlot
    answers: str = ""
    topic: str = ""
    said: tuple[tuple[str, str], ...] = ()

    def read(self, store: Store) -> "ReadDue":
        """The same with its texts.

        Raises:
            SympatheiaError: the store has lost one since the run was opened.
        """
        said = [
            Exchange(accepted_text(store, query), accepted_text(store, response))
            for query, response in self.said
        ]
        return ReadDue(self, accepted_text(store, self.answers) if self.answers else "", said)


@dataclass(frozen=True, slots=True)
class ReadDue:
    """A text that may be written, with the words it follows on."""

    due: Due
    query: str
    said: Sequence[Exchange]

    def request(self, blueprint: Blueprint, attempt: int) -> ChatRequest:
        """The request that makes one attempt at it."""
        slot = self.due.slot
        if isinstance(slot, PairSlot):
            return response_request(blueprint, slot, self.query, attempt, self.said)
        return query_request(blueprint, slot, attempt, self.due.topic, self.said)


@dataclass(frozen=True, slots=True)
class Kept:
    """Where an accepted text is: the attempt that made it and the digest of its request."""

    attempt: int
    digest: str
    grades: Grades | None = None


@dataclass
class Standing:
    """What stands: the text in each slot, and the rows of what was refused before it."""

    kept: dict[str, Kept] = field(default_factory=dict)
    refused: defaultdict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def on_file(
        cls, table: Path, key: str, rejects: Path, stage: str, slots: Collection[str] | None = None
    ) -> "Standing":
        """What stood when all texts were last written.

        Nothing does where a table is missing or damaged: all is then judged anew from the store.

        Args:
            table: of what was kept.
            key: the column that names its slots.
            rejects: the table of what was refused.
            stage: by which it calls these texts.
            slots: of which alone; of all if None.
        """
        standing = cls()
        if not (table.is_file() and rejects.is_file()):
            return standing
        try:
            kept = {row[key]: Kept(row["attempt"], row["digest"]) for row in read_rows(table)}
            refused = [row for row in read_rows(rejects) if row["stage"] == stage]
        except SympatheiaError:
            return standing
        standing.kept = {
            name: text for name, text in kept.items() if slots is None or name in slots
        }
        for row in refused:
            if slots is None or row["slot"] in slots:
                standing.refused[row["slot"]].append(row)
        return standing

    def rows(self, slot_id: str) -> list[Row]:
        """What was refused before the text that stands in a slot, as rows of the rejects."""
        return self.refused.get(slot_id, [])


@dataclass
class Filled:
    """What was made of one kind: what stood, where each accepted text is, and all refused."""

    standing: Standing = field(default_factory=Standing)
    kept: dict[str, Kept] = field(default_factory=dict)
    refused: defaultdict[str, list[Decision]] = field(default_factory=lambda: defaultdict(list))


@dataclass
class Written:
    """What the text stage made beside the queries that open.

    `exhausted` has, by slot, the reasons of those that ran out of attempts.
    """

    responses: Filled = field(default_factory=Filled)
    follow_ups: Filled = field(default_factory=Filled)
    exhausted: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def on_file(cls, folder: RunFolder, follow_ups: Collection[str]) -> "Written":
        """What stood when all texts were last written, by the ids of queries that follow."""
        responses = Standing.on_file(folder.responses, "id", folder.rejects, STAGE)
        later = Standing()
        if follow_ups:
            later = Standing.on_file(
                folder.queries, "query_id", folder.rejects, queries.STAGE, follow_ups
            )
        return cls(Filled(responses), Filled(later))

    @property
    def gave_up(self) -> bool:
        """Whether so many slots ran out of attempts that the others are not tried any more."""
        return len(self.exhausted) > GIVE_UP_AFTER

    def shortage(self, plan: Plan, attempts: int) -> str:
        """The sentence about the slots that stayed empty after so many attempts each."""
        cell = {pair.id: pair.cell for pair in plan.pairs()}
        cell |= {slot.id: slot.cell for slot in plan.queries()}
        cells = Counter(cell[slot_id] for slot_id in self.exhausted)
        slot_id, reasons = next(iter(self.exhausted.items()))
        why = ", ".join(f"{reason} {times}x" for reason, times in reasons.most_common())
        return (
            f"{len(self.exhausted)} slots stayed empty after {attempts} attempts each "
            f"({', '.join(f'{cell}: {times}' for cell, times in cells.most_common(5))}); "
            f"{slot_id}, for one, was refused as {why}. Raise llm.max_attempts, or change the "
            "templates or topics, and run the same command again; everything accepted is kept."
        )
