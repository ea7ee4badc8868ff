"""What a run has on file of each of its slots, and what is left of it.

A slot's requests follow from the plan alone, so their answers are looked for in the store, one
attempt after the other. What was decided about them is in the run's decisions and in its table of
rejects. Nothing is judged here and nothing written: a build may be at work in the folder.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from corpus.judge.readable_answers import TRIES
from corpus.plan.blueprint import Blueprint
from corpus.plan.subsets.subset import Exchange
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import read_rows
from corpus.speech.builtin_voice import tts_model
from corpus.speech.clip_requests import clip_request, query_clip, response_clip
from corpus.speech.speech_stage import STAGE as SPEECH
from corpus.store.digest_store import Store
from corpus.store.line_log import read_log
from corpus.text.annotation.annotation_stage import STAGE as ANNOTATIONS
from corpus.text.annotation.empathy import annotation_request
from corpus.text.assessment.graders import graders
from corpus.text.queries import STAGE as QUERIES
from corpus.text.queries import accepted_text, query_request, standing
from corpus.text.responses import STAGE as RESPONSES
from corpus.text.responses import response_request
from schemas.slots import PairSlot, QuerySlot

QUERY_CLIPS, RESPONSE_CLIPS = "query clips", "response clips"
SPOKEN, CLIPS = (QUERIES, RESPONSES), (QUERY_CLIPS, RESPONSE_CLIPS)
TEXTS = (*SPOKEN, ANNOTATIONS)
"""What a text model writes: what is spoken, and what is noted of it, if the recipe asks for it."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What was asked for a slot until now; the clip that came last, its digest and seconds."""

    full: bool
    requests: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    clip: str = ""


@dataclass(slots=True)
class Part:
    """The slots of one kind in one cell.

    Attributes:
        kind: one of `TEXTS` or `CLIPS`.
        subset: of the corpus.
        cell: of the plan.
        left: slots that are not full.
        undecided: answers on file about which nothing was decided.
        tried: what was asked for each slot for which anything was.
    """

    kind: str
    subset: str
    cell: str
    left: int = 0
    undecided: int = 0
    tried: list[Tried] = field(default_factory=list)

    def add(self, tried: Tried) -> None:
        """One more slot."""
        self.left += not tried.full
        if tried.requests:
            self.tried.append(tried)


def look(blueprint: Blueprint, folder: RunFolder, store: Store) -> list[Part]:
    """Every part of a plan, with what a run folder has of it.

    Raises:
        SympatheiaError: something in the folder was changed on disk.
    """
    return _Look(blueprint, folder, store).parts()


class _Look:
    def __init__(self, blueprint: Blueprint, folder: RunFolder, store: Store) -> None:
        self._blueprint = blueprint
        self._store = store
        self._decided = standing(read_log(folder.decisions), folder.decisions)
        rejects = read_rows(folder.rejects) if folder.rejects.exists() else iter(())
        self._refused = {(row["stage"], row["slot"], row["attempt"]) for row in rejects}
        self._parts: dict[tuple[str, str], Part] = {}
        # Of the dialogue that is looked at: its topic, what was said, and how loud.
        self._topic = ""
        self._said: list[Exchange] = []
        self._levels: list[float] = []

    def parts(self) -> list[Part]:
        plan = self._blueprint.plan
        for slot in plan.queries():
            query = self._query(slot)
            for pair in plan.pairs_of(slot):
                self._response(pair, query)
        return list(self._parts.values())

    def _part(self, kind: str, slot: QuerySlot, cell: str) -> Part:
        return self._parts.setdefault((kind, cell), Part(kind, slot.subset, cell))

    def _query(self, slot: QuerySlot) -> str | None:
        """Counts a query's slot, and gives the query that stands in it."""
        if slot.opens:
            self._topic, self._said, self._levels = "", [], []
        else:
            return self._follow_up(slot)
        part = self._part(QUERIES, slot, slot.cell)
        history, completions = self._decided[slot.id], self._store.completions
        if any(d.digest != self._query_digest(slot, d.attempt) for d in history):
            history = []  # the next build lets go of them
        full = bool(history) and history[-1].reason is None
        found = [completions.get(decision.digest) for decision in history]
        part.add(_texts(full, [answer for answer in found if answer]))
        if not full:
            part.undecided += self._query_digest(slot, len(history)) in completions
            return self._spoken(slot, None)
        self._topic = self._blueprint.plan.topic(slot, history[-1].attempt)
        return self._spoken(slot, accepted_text(self._store, history[-1].digest))

    def _spoken(self, slot: QuerySlot, text: str | None) -> str | None:
        self._clip(slot, None, text)
        return text

    def _follow_up(self, slot: QuerySlot) -> str | None:
        """As `_query`, of one that follows on a response."""
        found, kept = list[Mapping[str, Any]](), None
        told = len(self._said) == (slot.turn.number - 1 if slot.turn else 0)
        for attempt in range(self._blueprint.recipe.llm.max_attempts if told else 0):
            request = query_request(self._blueprint, slot, attempt, self._topic, self._said)
            answer = self._store.completions.get(request.digest())
            if answer is None:
                break
            found.append(answer)
            if (QUERIES, slot.id, attempt) not in self._refused:
                kept = accepted_text(self._store, request.digest())
        self._part(QUERIES, slot, slot.cell).add(_texts(kept is not None, found))
        return self._spoken(slot, kept)

    def _query_digest(self, slot: QuerySlot, attempt: int) -> str:
        return query_request(self._blueprint, slot, attempt).digest()

    def _response(self, pair: PairSlot, query: str | None) -> None:
        llm, found, kept = self._blueprint.recipe.llm, list[Mapping[str, Any]](), list[str]()
        tried = 0
        for attempt in range(llm.max_attempts if query else 0):
            assert query is not None
            request = response_request(self._blueprint, pair, query, attempt, self._said)
            answer = self._store.completions.get(request.digest())
            if answer is None:
                break
            tried += 1
            text = accepted_text(self._store, request.digest())
            found += [answer, *self._opinions(pair, query, text)]
            if (RESPONSES, pair.id, attempt) not in self._refused:
                kept.append(text)
        # Of several candidates the ones that were not the best are refused when all are there.
        full = bool(kept) and tried >= min(llm.responses.candidates, llm.max_attempts)
        self._part(RESPONSES, pair.query, pair.cell).add(_texts(full, found))
        self._clip(pair.query, pair, kept[-1] if full else None)
        if self._blueprint.recipe.annotate.empathy:
            self._annotation(pair, query, kept[-1] if full else None)
        if full and pair.query.turn:
            self._said.append(Exchange(query or "", kept[-1]))

    def _annotation(self, pair: PairSlot, query: str | None, response: str | None) -> None:
        attempts = self._blueprint.recipe.llm.max_attempts if query and response else 0
        found, full = list[Mapping[str, Any]](), False
        for attempt in range(attempts):
            request = annotation_request(
                self._blueprint, pair, query or "", response or "", attempt, self._said
            )
            answer = self._store.completions.get(request.digest())
            if answer is None:
                break
            found.append(answer)
            full = (ANNOTATIONS, pair.id, attempt) not in self._refused
        self._part(ANNOTATIONS, pair.query, pair.cell).add(_texts(full, found))

    def _opinions(self, pair: PairSlot, query: str, response: str) -> Iterator[Mapping[str, Any]]:
        for grader in graders(self._blueprint):
            for tried in range(TRIES):
                request = grader.request(pair, query, response, tried, self._said)
                answer = self._store.completions.get(request.digest())
                if answer is None:
                    break
                yield answer

    def _clip(self, slot: QuerySlot, pair: PairSlot | None, text: str | None) -> None:
        kind, cell = (RESPONSE_CLIPS, pair.cell) if pair else (QUERY_CLIPS, slot.cell)
        part = self._part(kind, slot, cell)
        part.add(self._clip_on_file(slot, pair, text) if text else Tried(full=False, requests=0))

    def _clip_on_file(self, slot: QuerySlot, pair: PairSlot | None, text: str) -> Tried:
        speech = self._blueprint.recipe.speech
        clip = (
            response_clip(self._blueprint, pair, text)
            if pair
            else query_clip(self._blueprint, slot, text)
        )
        clip = clip.by(self._levels)
        requests, seconds, refused, last = 0, 0.0, True, ""
        for attempt in range(speech.max_attempts):
            points = speech.backend == "builtin"
            digest = clip_request(
                self._blueprint, tts_model(speech), clip, attempt, takes_points=points
            ).digest()
            measures = self._store.clip_measures.get(digest)
            if measures is None:
                break
            requests, last = requests + 1, digest
            seconds = measures["finished_seconds"] or measures["seconds"]
            refused = (SPEECH, clip.name, attempt) in self._refused
        if pair is None and last:
            self._levels.append(self._store.clip_measures.require(last)["level"])
        return Tried(not refused, requests, seconds=seconds, clip=last)


def _texts(full: bool, answers: list[Mapping[str, Any]]) -> Tried:
    return Tried(
        full,
        len(answers),
        sum(answer["prompt_tokens"] for answer in answers),
        sum(answer["completion_tokens"] for answer in answers),
    )
