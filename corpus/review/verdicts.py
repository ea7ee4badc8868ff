"""Verdicts of people on what a run has: `reviews.jsonl`, one JSON object a line, only added to.

Several servers and a build may be at the file at once: who writes holds its lock, and every line is
on the disk before anyone is told. The last verdict of a reviewer on a text or clip counts, and one
strike is enough.
"""

import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import filelock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corpus.errors import SympatheiaError
from corpus.plan.user_input import one_line
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import read_rows
from corpus.store.files import append_whole, make_folder, sync

Role = Literal["query", "response", "query_clip", "response_clip"]
KEEP, STRIKE = "keep", "strike"
MOST_NOTE_CHARS = 2_000
"""A page of text: a note is read by people."""
MOST_NAME_CHARS = 80
"""Longer names of reviewers do not fit the tables."""

Name = Annotated[str, Field(min_length=1, max_length=MOST_NAME_CHARS)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Ratings = dict[Name, Annotated[int, Field(ge=1, le=5)]]
Note = Annotated[str, Field(max_length=MOST_NOTE_CHARS)]


class Verdict(BaseModel):
    """What one reviewer says of one text or clip.

    Attributes:
        id: of the row that they looked at, or of its query.
        role: what of it is meant.
        digest: of the text's request or of the clip; None for whatever stands there.
        reviewer: who says so.
        verdict: "keep" or "strike".
        ratings: from 1 to 5, by what is rated.
        note: more of it.
        at: when, ISO 8601.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1, max_length=200)]
    role: Role
    digest: Digest | None
    reviewer: Name
    verdict: Literal["keep", "strike"]
    ratings: Ratings = {}
    note: Note = ""
    at: Name

    @property
    def written(self) -> tuple[str, ...]:
        """By which it is known again once it is known which text or clip it means."""
        return self.id, self.role, self.reviewer, self.at, self.verdict


Verdicts = dict[tuple[str, str], dict[str, Verdict]]
"""By digest and role of a text or clip, a verdict of each reviewer."""


def is_struck(said: dict[str, Verdict]) -> bool:
    """Whether something is struck by what reviewers say of it; one is enough."""
    return any(one.verdict == STRIKE for one in said.values())


def in_words(said: Verdicts) -> Mapping[Hashable, Mapping[str, str]]:
    """The same, with nothing of a verdict but whether it keeps or strikes."""
    return {item: {who: v.verdict for who, v in of.items()} for item, of in said.items()}


def now() -> str:
    """The time that a verdict is given, to the microsecond."""
    return datetime.now(UTC).isoformat()


class Reviews:
    """The verdicts of a run, as far as they are on file.

    Args:
        path: the file; it need not be there.

    Raises:
        SympatheiaError: a line holds no verdict.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.verdicts: list[Verdict] = []
        self._end = 0
        self.refresh()

    def refresh(self) -> bool:
        """Takes in what was written since; gives whether anything was.

        Raises:
            SympatheiaError: a line holds no verdict, or the file is shorter than it was.
        """
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self._end:
            raise SympatheiaError(
                f"{self.path} is shorter than it was. Put back a copy, and start again."
            )
        if size == self._end:
            return False
        with self.path.open("rb") as file:
            file.seek(self._end)
            lines = file.read().splitlines(keepends=True)
        before = len(self.verdicts)
        for line in lines:
            if not line.endswith(b"\n") or b"\0" in line:  # torn off by a kill or a power cut
                break
            self.verdicts.append(self._read(line))
            self._end += len(line)
        return len(self.verdicts) > before

    def _read(self, line: bytes) -> Verdict:
        try:
            return Verdict.model_validate_json(line)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join(map(str, problem["loc"]))
            why = one_line(f"{where}: {problem['msg']}" if where else problem["msg"])
            raise SympatheiaError(
                f"{self.path} is damaged (line {len(self.verdicts) + 1} is no verdict: {why}). "
                "Mend the line or put back a copy; each line is the word of a person, so none is "
                "passed over."
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps others from writing, and takes in what they wrote."""
        make_folder(self.path.parent)
        with filelock.FileLock(self.path.with_name(f".{self.path.name}.lock")):
            self.refresh()
            yield

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Puts verdicts on file, all or none; they are on the disk when this returns.

        Raises:
            OSError: the disk is full or fails; none of them is kept.
            SympatheiaError: a line that another wrote holds no verdict.
        """
        with self.locked():
            self._append(list(verdicts))

    def _append(self, verdicts: list[Verdict]) -> None:
        if not verdicts:
            return
        lines = b"".join(verdict.model_dump_json().encode() + b"\n" for verdict in verdicts)
        new = not self.path.exists()
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.ftruncate(file, self._end)  # what a kill tore off
            append_whole(file, lines, self._end)
            os.fsync(file)
        finally:
            os.close(file)
        if new:
            sync(self.path.parent)
        self.verdicts += verdicts
        self._end += len(lines)

    def settle(self, folder: RunFolder) -> None:
        """Says on file which text or clip is meant where a verdict says "whatever stands there".

        So it goes on meaning that one, when another takes its place. Who keeps whatever stands
        there takes back their own strikes of whatever stood there.

        Raises:
            SympatheiaError: a table of the run is damaged.
        """
        with self.locked():
            if not self._open():
                return
            there = standing_digests(folder)
            meant: dict[tuple[str, str, str], list[str]] = {}
            known = self._settled()
            for verdict in self.verdicts[:]:
                if verdict.digest:
                    continue
                struck = meant.setdefault((verdict.id, verdict.role, verdict.reviewer), [])
                digests = known.get(verdict.written)
                if digests is None:
                    stands = there.get((verdict.id, verdict.role))
                    digests = struck[:] if verdict.verdict == KEEP else []
                    digests = digests or ([stands] if stands else [])
                    self._append([verdict.model_copy(update={"digest": one}) for one in digests])
                if verdict.verdict == STRIKE:
                    struck += digests
                else:
                    struck.clear()

    def _settled(self) -> dict[tuple[str, ...], list[str]]:
        """What each verdict on "whatever stands there" was found to mean."""
        found: dict[tuple[str, ...], list[str]] = {
            verdict.written: [] for verdict in self.verdicts if verdict.digest is None
        }
        for verdict in self.verdicts:
            if verdict.digest and verdict.written in found:
                found[verdict.written].append(verdict.digest)
        return {written: digests for written, digests in found.items() if digests}

    def _open(self) -> bool:
        """Whether there is a verdict of which it is not yet on file what it means."""
        settled = self._settled()
        return any(v.digest is None and v.written not in settled for v in self.verdicts)

    def counting(self) -> Verdicts:
        """The last verdict of each reviewer, by digest and role of what it is about."""
        found: Verdicts = {}
        for verdict in self._in_order():
            said = found.setdefault((verdict.digest or "", verdict.role), {})
            said[verdict.reviewer] = verdict
        return found

    def standing(self) -> Verdicts:
        """The same, as if what was taken back had never been said.

        A keep takes back the strikes of its reviewer right before it, and says nothing itself.
        """
        histories: dict[tuple[str, str], dict[str, list[Verdict]]] = {}
        for verdict in self._in_order():
            said = histories.setdefault((verdict.digest or "", verdict.role), {})
            before = said.setdefault(verdict.reviewer, [])
            if verdict.verdict == KEEP and before and before[-1].verdict == STRIKE:
                while before and before[-1].verdict == STRIKE:
                    before.pop()
            else:
                before.append(verdict)
        last = {
            item: {who: history[-1] for who, history in said.items() if history}
            for item, said in histories.items()
        }
        return {item: said for item, said in last.items() if said}

    def _in_order(self) -> list[Verdict]:
        """Those that say what they mean, each where it was given."""
        place = {v.written: n for n, v in enumerate(self.verdicts) if v.digest is None}
        numbered = [
            (place.get(v.written, n), n, v) for n, v in enumerate(self.verdicts) if v.digest
        ]
        return [verdict for _, _, verdict in sorted(numbered, key=lambda one: one[:2])]


def standing_digests(folder: RunFolder) -> dict[tuple[str, str], str]:
    """The digest of every text and clip that stands, by id and role.

    What is a query's is there under its own id and under that of each of its rows.

    Raises:
        SympatheiaError: a table is damaged.
    """
    found: dict[tuple[str, str], str] = {}
    if folder.queries.is_file():
        found |= {(row["query_id"], "query"): row["digest"] for row in read_rows(folder.queries)}
    if folder.clips.is_file():
        for row in read_rows(folder.clips):
            found[row["id"], f"{row['role']}_clip"] = row["digest"]
    if folder.responses.is_file():
        for row in read_rows(folder.responses):
            found[row["id"], "response"] = row["digest"]
            for role in ("query", "query_clip"):
                if digest := found.get((row["query_id"], role)):
                    found[row["id"], role] = digest
    return found


def struck_in_review(folder: RunFolder) -> dict[str, str]:
    """What people struck of a run, by digest of text or clip, with who did and why.

    Raises:
        SympatheiaError: the file of verdicts or a table of the run is damaged.
    """
    if not folder.reviews.exists():
        return {}
    reviews = Reviews(folder.reviews)
    reviews.settle(folder)
    struck: dict[str, str] = {}
    for (digest, _), said in reviews.counting().items():
        strikes = [one for one in said.values() if one.verdict == STRIKE]
        if strikes:
            struck[digest] = "; ".join(
                f"{one.reviewer}: {one_line(one.note)}" if one.note else one.reviewer
                for one in strikes
            )
    return struck
