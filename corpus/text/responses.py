"""Responses: how one is asked for, and which of those on file stand.

A response depends on its own query and anchor alone, so it is judged the moment it arrives. What
was accepted when the table on file was written is looked at first, and stays while it passes, with
what was refused before it.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import Row, read_rows
from corpus.servers.chat_requests import ChatRequest
from corpus.text.assessment.llm_judge import Grades
from corpus.text.queries import Decision
from schemas.slots import PairSlot

STAGE = "responses"

GIVE_UP_AFTER = 20
"""Slots that may run out of attempts before the run stops; until then the others are finished,
because one unlucky slot should not cost a night, and a broken prompt should not cost a budget."""


def response_request(blueprint: Blueprint, slot: PairSlot, query: str, attempt: int) -> ChatRequest:
    """The request that makes one attempt at one response."""
    llm = blueprint.recipe.llm
    messages = blueprint.room(slot).ask_response(slot, query)
    seed = blueprint.plan.seed("response", slot.id, attempt)
    return ChatRequest.sampled(llm.model, messages, llm.responses, seed)


@dataclass(frozen=True, slots=True)
class Kept:
    """Where an accepted response is: the attempt that made it and the digest of its request."""

    attempt: int
    digest: str
    grades: Grades | None = None


@dataclass
class Standing:
    """What stands: the response in each slot, and the rows of what was refused before it."""

    kept: dict[str, Kept] = field(default_factory=dict)
    refused: defaultdict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def on_file(cls, folder: RunFolder) -> "Standing":
        """What stood when all responses were last written.

        Nothing does where a table is missing or damaged: all is then judged anew from the store.
        """
        standing = cls()
        if not (folder.responses.is_file() and folder.rejects.is_file()):
            return standing
        try:
            kept = {r["id"]: Kept(r["attempt"], r["digest"]) for r in read_rows(folder.responses)}
            rejects = [row for row in read_rows(folder.rejects) if row["stage"] == STAGE]
        except SympatheiaError:
            return standing
        standing.kept = kept
        for row in rejects:
            standing.refused[row["slot"]].append(row)
        return standing

    def rows(self, slot_id: str) -> list[Row]:
        """What was refused before the response that stands in a slot, as rows of the rejects."""
        return self.refused.get(slot_id, [])


@dataclass
class Written:
    """What the text stage made: where each accepted response is, and every one refused.

    `standing` is what of the tables on file holds; `exhausted` has, by slot, the reasons of those
    that ran out of attempts.
    """

    standing: Standing = field(default_factory=Standing)
    responses: dict[str, Kept] = field(default_factory=dict)
    refused_responses: defaultdict[str, list[Decision]] = field(
        default_factory=lambda: defaultdict(list)
    )
    exhausted: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def gave_up(self) -> bool:
        """Whether so many slots ran out of attempts that the others are not tried any more."""
        return len(self.exhausted) > GIVE_UP_AFTER

    def shortage(self, attempts: int) -> str:
        """The sentence about the slots that stayed empty after so many attempts each."""
        cells = Counter(slot_id.rpartition("-")[0] for slot_id in self.exhausted)
        slot_id, reasons = next(iter(self.exhausted.items()))
        why = ", ".join(f"{reason} {times}x" for reason, times in reasons.most_common())
        return (
            f"{len(self.exhausted)} slots stayed empty after {attempts} attempts each "
            f"({', '.join(f'{cell}: {times}' for cell, times in cells.most_common(5))}); "
            f"{slot_id}, for one, was refused as {why}. Raise llm.max_attempts, or change the "
            "templates or topics, and run the same command again; everything accepted is kept."
        )
