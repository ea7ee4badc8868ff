"""The text stage: from a plan to the tables of queries and responses, and the texts refused."""

import asyncio
from collections.abc import Iterable, Iterator

from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.errors import InvalidInput
from corpus.plan.rules import REPORT
from corpus.plan.slot_layout import Plan
from corpus.run.open_run import OpenRun
from corpus.run.stage_tables import Row, read_rows, replace_rejects, write_table
from corpus.run.up_to_date import Stamp, code_digest
from corpus.servers.retry_and_failover import Open
from corpus.speech.accepted_texts import AcceptedTexts
from corpus.store.digest_store import Store
from corpus.text.annotation.annotation_stage import annotate, forget
from corpus.text.queries import STAGE as QUERY_STAGE
from corpus.text.queries import Decision, Decisions, accepted_text
from corpus.text.request_scheduling import Writing
from corpus.text.response_similarity import compare_responses
from corpus.text.responses import STAGE as RESPONSE_STAGE
from corpus.text.responses import Filled, Written
from schemas.recipe import SERVING
from schemas.tables import QUERIES, RESPONSES


async def write_texts(
    run: OpenRun,
    pool: Open,
    embedder: EmbeddingProcess,
    *,
    with_responses: bool,
    accepted: AcceptedTexts | None = None,
) -> None:
    """Writes the texts, and has annotated what they say, if the recipe asks for it; see `_write`.

    Raises:
        SympatheiaError: slots ran out of attempts, or the servers failed for too long.
    """
    await _write(run, pool, embedder, with_responses=with_responses, accepted=accepted)
    if not run.blueprint.recipe.annotate.empathy:
        forget(run)
    elif with_responses:
        await annotate(run, pool)


async def _write(
    run: OpenRun,
    pool: Open,
    embedder: EmbeddingProcess,
    *,
    with_responses: bool,
    accepted: AcceptedTexts | None = None,
) -> None:
    """Writes every query, and every response if asked to, and puts them on file in slot order.

    Each is handed on to `accepted`, if that is given, as soon as it fills its slot.

    Nothing is done, nor judged again, where every table is as it was when all was written from the
    same recipe and prompts by the same code; unless there are rules to report of, for what breaks
    them is on file nowhere.

    Raises:
        InvalidInput: some queries follow on responses, which are not to be written.
        SympatheiaError: slots ran out of attempts, or the servers failed for too long. The rejects
            so far are on file then, and nothing that was answered is lost.
    """
    folder, plan, store = run.folder, run.blueprint.plan, run.store
    stages = (QUERY_STAGE, RESPONSE_STAGE) if with_responses else (QUERY_STAGE,)
    if not with_responses:
        require_openings(plan)
    stamp = Stamp(folder.root / "tables" / "texts.json", folder.root)
    made_from = _inputs(run)
    reports = REPORT in run.blueprint.recipe.text.rules.values()
    if folder.rejects.is_file() and stamp.holds(made_from) and not reports:
        _count(run, stages)
        return
    stamp.drop()
    decisions = Decisions(folder.decisions)
    try:
        writing = Writing(
            run, decisions, pool, embedder, with_responses=with_responses, accepted=accepted
        )
        try:
            written = await writing.run()
        finally:
            store.sync()  # tables must not outlive what they rest on
            rows = _reject_rows(run, decisions, writing.written)
            replace_rejects(folder.rejects, stages, rows)
            # With it go the vectors of all queries, which nothing below needs.
            del writing
        written_queries = _query_rows(plan, decisions, written, store)
        write_table(folder.queries, QUERIES, written_queries)
        if with_responses:
            write_table(folder.responses, RESPONSES, _response_rows(plan, written, store))
            await asyncio.to_thread(compare_responses, run, embedder)
    finally:
        decisions.close()
    store.sync()
    if with_responses:
        # The rejects are not among them: other stages write theirs into the same table.
        tables = (folder.decisions, folder.queries, folder.responses, folder.similarities)
        stamp.put(made_from, tables)


def require_openings(plan: Plan) -> None:
    """Passes if every query can be written before any response.

    Raises:
        InvalidInput: some follow on responses.
    """
    if any(not slot.opens for slot in plan.queries()):
        raise InvalidInput(
            "until queries: the later queries of a dialogue follow on responses. Build until "
            "responses, or set dialogue.dialogues to 0."
        )


def _inputs(run: OpenRun) -> str:
    """What the texts follow from, beside the answers."""
    blueprint = run.blueprint
    shaping = blueprint.recipe.model_dump_json(
        include={"seed", "anchors", "split", "llm", "text", "dedup", *blueprint.plan.subsets},
        exclude={"llm": SERVING},
    )
    # Who speaks a query shows in how it is asked for.
    shaping += blueprint.recipe.speech.model_dump_json(include={"query_voices", "eval_voices"})
    return f"{shaping} {blueprint.prompts.digest} {run.strikes.digest} {code_digest()}"


def _count(run: OpenRun, stages: tuple[str, ...]) -> None:
    """Shows the stages as they were left: every slot full, and what was refused on the way."""
    plan, progress = run.blueprint.plan, run.progress
    cells = {
        QUERY_STAGE: {slot.id: slot.cell for slot in plan.queries()},
        RESPONSE_STAGE: {pair.id: pair.cell for pair in plan.pairs()},
    }
    for stage in stages:
        for cell in cells[stage].values():
            progress.filled(stage, cell)
    for row in read_rows(run.folder.rejects):
        if row["stage"] in stages:
            progress.refused(row["stage"], cells[row["stage"]][row["slot"]], row["reason"])


def _query_rows(plan: Plan, decisions: Decisions, written: Written, store: Store) -> Iterator[Row]:
    topic = ""
    for slot in plan.queries():
        if slot.opens:
            decision = decisions.of(slot.id)[-1]
            topic = plan.topic(slot, decision.attempt)
        else:
            kept = written.follow_ups.kept[slot.id]
            decision = Decision(slot.id, kept.attempt, kept.digest)
        yield {
            "query_id": slot.id,
            "subset": slot.subset,
            "split": slot.split,
            "emotion": slot.emotion,
            "topic": topic,
            "attempt": decision.attempt,
            "digest": decision.digest,
            "text": accepted_text(store, decision.digest),
            "nearest_id": decision.nearest,
            "similarity": decision.similarity,
        }


def _response_rows(plan: Plan, written: Written, store: Store) -> Iterator[Row]:
    for pair in plan.pairs():
        kept = written.responses.kept[pair.id]
        yield {
            "id": pair.id,
            "query_id": pair.query.id,
            "emotion": pair.anchor,
            "attempt": kept.attempt,
            "digest": kept.digest,
            "text": accepted_text(store, kept.digest),
            **(kept.grades.model_dump() if kept.grades else {}),
        }


def _reject_rows(run: OpenRun, decisions: Decisions, written: Written) -> Iterator[Row]:
    plan, store = run.blueprint.plan, run.store

    def rows(stage: str, refused: Iterable[Decision]) -> Iterator[Row]:
        for decision in refused:
            # One that was lost, and is not had again because the run fails, cannot be told.
            if decision.digest in store.completions:
                yield {
                    "stage": stage,
                    "slot": decision.slot,
                    "attempt": decision.attempt,
                    "text": accepted_text(store, decision.digest),
                    "reason": decision.reason,
                    "nearest_id": decision.nearest,
                    "nearest_text": nearest_text(decision),
                    "similarity": decision.similarity,
                    "note": run.strikes.note(decision.digest),
                }

    def nearest_text(decision: Decision) -> str | None:
        slot_id, _, struck = (decision.nearest or "").partition("#")
        history = decisions.of(slot_id)[: int(struck) + 1 if struck else None]
        there = history and history[-1].digest in store.completions
        return accepted_text(store, history[-1].digest) if there else None

    def rows_of(stage: str, filled: Filled, slot_id: str) -> Iterator[Row]:
        if slot_id in filled.standing.kept:
            yield from filled.standing.rows(slot_id)
            return
        refused = filled.refused.get(slot_id, ())
        yield from rows(stage, sorted(refused, key=lambda decision: decision.attempt))

    for slot in plan.queries():
        if slot.opens:
            yield from rows(QUERY_STAGE, [d for d in decisions.of(slot.id) if d.reason])
        else:
            yield from rows_of(QUERY_STAGE, written.follow_ups, slot.id)
    for pair in plan.pairs():
        yield from rows_of(RESPONSE_STAGE, written.responses, pair.id)
