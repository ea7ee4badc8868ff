"""Responses: how one is asked for, and which of those on file stand.

A response depends on its own query and anchor alone, so it is judged the moment it arrives. What
was accepted when the table on file was written is looked at first, and stays while it passes, with
what was refused before it.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import Row, read_rows
from corpus.servers.chat_requests import ChatRequest
from corpus.text.llm_judge import Grades
from schemas.slots import PairSlot

STAGE = "responses"


def response_request(blueprint: Blueprint, slot: PairSlot, query: str, attempt: int) -> ChatRequest:
    """The request that makes one attempt at one response."""
    llm, prompts, plan = blueprint.recipe.llm, blueprint.prompts, blueprint.plan
    anchor = plan.anchors[slot.anchor]
    if slot.query.anchor is None:
        messages = prompts.neutral_response(anchor, query)
    else:
        messages = prompts.emotional_response(anchor, query)
    seed = plan.seed("response", slot.id, attempt)
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
