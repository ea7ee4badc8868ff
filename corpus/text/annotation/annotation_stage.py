"""The annotations of all pairs: asked for when the texts are written, judged, and put on file.

An annotation depends on the words of its own pair alone. So each is judged as it arrives, and what
was answered before is found in the store under the digest of its request.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256

from corpus.errors import SympatheiaError, root_cause
from corpus.plan.rules import REPORT
from corpus.plan.subsets.subset import Exchange
from corpus.run.open_run import OpenRun
from corpus.run.stage_tables import Row, read_rows, replace_rejects, write_table
from corpus.run.stop_when_most_refused import FirstVerdicts, shown_text
from corpus.run.up_to_date import Stamp, code_digest
from corpus.servers.chat_requests import ChatAnswer, ChatRequest, problem
from corpus.servers.retry_and_failover import Open
from corpus.text.annotation.empathy import (
    UNREADABLE,
    Annotation,
    annotation_request,
    annotation_rules,
    noted,
    read_annotation,
    remedy,
)
from corpus.text.queries import answered, stored_answer
from corpus.text.responses import GIVE_UP_AFTER
from schemas.recipe import SERVING
from schemas.slots import PairSlot
from schemas.tables import ANNOTATIONS

STAGE = "annotations"


async def annotate(run: OpenRun, pool: Open) -> None:
    """Notes of every pair why it is said, and puts that on file in slot order.

    Nothing is done where the table is as it was when all was noted of the same texts.

    Args:
        run: whose queries and responses are on file.
        pool: opens the servers that write, when there is something to ask.

    Raises:
        SympatheiaError: slots ran out of attempts, one rule refused most of the first annotations,
            or the servers failed for too long. What was answered is kept, and the refusals are on
            file.
    """
    folder, plan = run.folder, run.blueprint.plan
    run.progress.begin(STAGE, dict(Counter(pair.cell for pair in plan.pairs())))
    stamp = Stamp(folder.root / "tables" / "annotations.json", folder.root)
    made_from = _inputs(run)
    if stamp.holds(made_from) and _counted(run):
        return
    stamp.drop()
    noting = _Noting(run, pool)
    try:
        await noting.run()
    finally:
        run.store.sync()  # tables must not outlive what they rest on
        replace_rejects(folder.rejects, (STAGE,), noting.refused_rows())
    write_table(folder.annotations, ANNOTATIONS, noting.rows())
    stamp.put(made_from, (folder.annotations,))


def forget(run: OpenRun) -> None:
    """Removes what a run has on file of annotations, which its recipe does not ask for any more."""
    rejects = run.folder.rejects
    if rejects.is_file() and any(row["stage"] == STAGE for row in read_rows(rejects)):
        replace_rejects(rejects, (STAGE,), ())
    run.folder.annotations.unlink(missing_ok=True)


def _inputs(run: OpenRun) -> str:
    """What the annotations follow from, beside the answers."""
    recipe, digest = run.blueprint.recipe, sha256()
    for path in (run.folder.queries, run.folder.responses):
        digest.update(sha256(path.read_bytes()).digest())
    shaping = recipe.model_dump_json(include={"seed", "annotate", "llm"}, exclude={"llm": SERVING})
    digest.update(f"{shaping} {run.blueprint.prompts.digest} {code_digest()}".encode())
    return digest.hexdigest()


def _counted(run: OpenRun) -> bool:
    """Shows the stage as it was left; gives whether all of it is on file."""
    if REPORT in run.blueprint.recipe.annotate.rules.values():
        return False  # what breaks such a rule is on file nowhere
    tried = {row["id"]: row["attempt"] for row in read_rows(run.folder.annotations)}
    refused = [row for row in read_rows(run.folder.rejects) if row["stage"] == STAGE]
    if len(refused) != sum(tried.values()):
        return False
    cells = {pair.id: pair.cell for pair in run.blueprint.plan.pairs()}
    for row in refused:
        run.progress.refused(STAGE, cells[row["slot"]], row["reason"])
    for cell in cells.values():
        run.progress.filled(STAGE, cell)
    return True


def _on_file(run: OpenRun) -> tuple[dict[str, Row], dict[str, list[Row]]]:
    """By pair, what was noted when all was last on file, and what was refused before it."""
    folder = run.folder
    if not (folder.annotations.is_file() and folder.rejects.is_file()):
        return {}, {}
    refused: defaultdict[str, list[Row]] = defaultdict(list)
    try:
        noted_before = {row["id"]: row for row in read_rows(folder.annotations)}
        for row in read_rows(folder.rejects):
            if row["stage"] == STAGE:
                refused[row["slot"]].append(row)
    except SympatheiaError:  # a table is damaged: all is judged anew from the store
        return {}, {}
    return noted_before, refused


class _Noting:
    """One run of the stage; its workers share it."""

    def __init__(self, run: OpenRun, pool: Open) -> None:
        self._run, self._pool = run, pool
        self._blueprint, self._llm = run.blueprint, run.blueprint.recipe.llm
        self._rules = annotation_rules(run.blueprint.recipe.annotate.rules)
        self._first = FirstVerdicts(
            self._rules, "annotations", "read", "the text server or the template", remedy
        )
        self._pairs = self._with_texts()
        self._standing, self._before = _on_file(run)
        self._kept: dict[str, Row] = {}
        self._refused: defaultdict[str, list[Row]] = defaultdict(list)
        self._exhausted: list[str] = []

    def _with_texts(self) -> Iterator[tuple[PairSlot, str, str, Sequence[Exchange]]]:
        """Every pair with its query and response, and what was said before it in its dialogue."""
        folder = self._run.folder
        queries = {row["query_id"]: row["text"] for row in read_rows(folder.queries)}
        rows = read_rows(folder.responses)
        said: tuple[Exchange, ...] = ()
        for pair, row in zip(self._blueprint.plan.pairs(), rows, strict=True):
            exchange = Exchange(queries[pair.query.id], row["text"])
            said = () if pair.query.opens else said
            yield pair, exchange.query, exchange.response, said
            if pair.query.turn:
                said = (*said, exchange)

    async def run(self) -> None:
        """Fills every slot.

        Raises:
            SympatheiaError: as `annotate`.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._llm.concurrency):
                    group.create_task(self._work())
        except ExceptionGroup as errors:
            raise root_cause(errors) from None
        if self._first.culprit:
            raise SympatheiaError(self._first.sentence())
        if self._exhausted:
            raise SympatheiaError(self._shortage())

    async def _work(self) -> None:
        for pair, query, response, said in self._pairs:  # each worker takes the next
            if self._first.culprit or len(self._exhausted) > GIVE_UP_AFTER:
                return
            ask = partial(annotation_request, self._blueprint, pair, query, response, said=said)
            await self._fill(pair, ask)

    async def _fill(self, pair: PairSlot, ask: Callable[[int], ChatRequest]) -> None:
        standing = self._standing.pop(pair.id, None)
        stood = standing is not None and self._stands(pair, ask, standing)
        for attempt in () if stood else range(self._llm.max_attempts):
            request = ask(attempt)
            digest = request.digest()
            what = f"the annotation of {pair.id}, attempt {attempt}"
            answer, now = await answered(self._run, self._pool, request, digest, what)
            annotation, reason = self._judge(pair, answer, made_now=now)
            if annotation and reason is None:
                self._keep(pair, attempt, digest, annotation)
                return
            facts = {"stage": STAGE, "slot": pair.id, "attempt": attempt, "text": answer.text}
            self._refused[pair.id].append(facts | {"reason": reason})
            self._run.progress.refused(STAGE, pair.cell, reason or UNREADABLE)
            if self._first.culprit:
                return
        if not stood:
            self._exhausted.append(pair.id)

    def _stands(self, pair: PairSlot, ask: Callable[[int], ChatRequest], standing: Row) -> bool:
        """Whether what was noted of a pair stays: nothing refuses it, and it is of these words."""
        request, attempt = ask(standing["attempt"]), standing["attempt"]
        digest = request.digest()
        if digest != standing["digest"] or digest not in self._run.store.completions:
            return False
        answer = stored_answer(self._run.store, digest)
        annotation, reason = self._judge(pair, answer, made_now=False)
        if annotation is None or reason is not None:
            return False
        for row in self._before.get(pair.id, ()):
            self._refused[pair.id].append(row)
            self._run.progress.refused(STAGE, pair.cell, row["reason"])
        self._keep(pair, attempt, digest, annotation)
        return True

    def _keep(self, pair: PairSlot, attempt: int, digest: str, annotation: Annotation) -> None:
        about = {"id": pair.id, "attempt": attempt, "digest": digest}
        self._kept[pair.id] = about | annotation.model_dump()
        self._run.progress.filled(STAGE, pair.cell)

    def _judge(
        self, pair: PairSlot, answer: ChatAnswer, *, made_now: bool
    ) -> tuple[Annotation | None, str | None]:
        """What is noted in an answer, and what refuses it."""
        annotation, reason = read_annotation(answer), problem(answer)
        judged = noted(self._blueprint, annotation or Annotation(scenario="", cause="", goal=""))
        if reason is None and annotation is None:
            reason = UNREADABLE
        if reason is None:
            verdict = self._rules.judge(judged)
            reason = verdict.reason
            self._run.progress.reported(STAGE, () if reason else verdict.reported)
        if made_now:
            self._first.add(pair.id, reason, judged, shown_text(pair.id, answer.text))
        else:
            self._first.on_file(pair.id, accepted=reason is None)
        return annotation, reason

    def rows(self) -> Iterator[Row]:
        """What the table has of every pair, in slot order."""
        return (self._kept[pair.id] for pair in self._blueprint.plan.pairs())

    def refused_rows(self) -> Iterator[Row]:
        """What was refused, in slot order."""
        for pair in self._blueprint.plan.pairs():
            yield from self._refused.get(pair.id, ())

    def _shortage(self) -> str:
        first = min(self._exhausted)
        reasons = Counter(str(row["reason"]) for row in self._refused[first])
        why = ", ".join(f"{reason} {times}x" for reason, times in reasons.most_common())
        return (
            f"{len(self._exhausted)} pairs have no annotation after {self._llm.max_attempts} "
            f"attempts each; {first}, for one, was refused as {why}. Raise llm.max_attempts, or "
            "change the template annotate/empathy, and run the same command again; everything "
            "accepted is kept."
        )
