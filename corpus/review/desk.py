"""A reviewer's desk: the pair at each place, what they said of it, and how far they have come."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from corpus.errors import InvalidInput
from corpus.review.pairs import OF_QUERY, Pair, pairs_to_review
from corpus.review.suspicion import suspicion
from corpus.review.verdicts import (
    KEEP,
    STRIKE,
    Digest,
    Name,
    Note,
    Ratings,
    Reviews,
    Role,
    Verdict,
    now,
)
from corpus.run.run_folder import RunFolder
from corpus.store.opening import place_of_clips

RATINGS: dict[str, tuple[Role, str]] = {
    "fit": ("response", "The response fits the feeling"),
    "naturalness": ("response_clip", "It sounds natural"),
}
"""What is rated from 1 to 5: of which part of a pair, and how a page asks for it."""


class Part(BaseModel):
    """What is said of one part of a pair; as in `Verdict`."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    digest: Digest
    verdict: Literal["keep", "strike"]
    ratings: Ratings = {}
    note: Note = ""


class Said(BaseModel):
    """What a reviewer says of a pair.

    Attributes:
        id: of the row.
        reviewer: who says so.
        parts: what of each part.
    """

    model_config = ConfigDict(extra="forbid")

    id: str
    reviewer: Name
    parts: Annotated[list[Part], Field(min_length=1, max_length=40)]


class Desk:
    """What reviewers are shown of a run, and where what they say goes.

    Args:
        folder: the run.
        per_cell: how many pairs of each cell are shown; all if 0.
        suspicious_first: whether those come first that came nearest to being refused; else they
            come by cell, in an order that is drawn.

    Raises:
        InvalidInput: there is nothing to review.
        SympatheiaError: a table or the file of verdicts is damaged.
    """

    def __init__(
        self, folder: RunFolder, per_cell: int = 0, *, suspicious_first: bool = False
    ) -> None:
        self._folder, self._per_cell = folder, per_cell
        self._suspicious_first = suspicious_first
        self.name = folder.read_recipe().name
        self._clips = place_of_clips(folder.store, folder.read_recipe().storage.url)
        self._reviews = Reviews(folder.reviews)
        self._look: list[int] = []
        self.refresh()

    def refresh(self) -> None:
        """Takes in what a build or another server has written since."""
        tables = (self._folder.queries, self._folder.responses, self._folder.clips)
        look = [_changed_at(path) for path in tables]
        if look != self._look:
            self.pairs = self._drawn()
            self._look = look
            self._places = {pair.id: place for place, pair in enumerate(self.pairs)}
            self._sounds = {
                digest
                for pair in self.pairs
                for role, digest in pair.digests.items()
                if role.endswith("clip")
            }
            self._showing: defaultdict[str, list[int]] = defaultdict(list)
            for place, pair in enumerate(self.pairs):
                for digest in pair.digests.values():
                    self._showing[digest].append(place)
            self._totals = Counter(pair.cell for pair in self.pairs)
            self._done: dict[str, set[int]] = {}
            self._reviews.settle(self._folder)
            self._said = self._reviews.counting()
            self._by_slot: defaultdict[tuple[str, Role], set[str]] = defaultdict(set)
            self._seen = 0
            self._note_slots()
        self._reviews.refresh()
        for verdict in self._reviews.verdicts[self._seen :]:
            if verdict.digest:
                said = self._said.setdefault((verdict.digest, verdict.role), {})
                said[verdict.reviewer] = verdict
                self._note_done(verdict.reviewer, self._showing.get(verdict.digest, ()))
        self._note_slots()

    def _drawn(self) -> list[Pair]:
        """The pairs in the order in which they are shown."""
        if not self._suspicious_first:
            return pairs_to_review(self._folder, self._per_cell)
        pairs = pairs_to_review(self._folder)
        found = suspicion(self._folder, pairs)
        taken: Counter[str] = Counter()
        shown = []
        for pair in sorted(pairs, key=lambda one: -found[one.id]):
            if not self._per_cell or taken[pair.cell] < self._per_cell:
                taken[pair.cell] += 1
                shown.append(pair)
        return shown

    def _note_done(self, reviewer: str, places: Iterable[int]) -> None:
        if reviewer in self._done:
            self._done[reviewer] |= {place for place in places if self._is_done(place, reviewer)}

    def _is_done(self, place: int, reviewer: str) -> bool:
        digests = self.pairs[place].digests.items()
        return all(self._of(reviewer, role, digest) for role, digest in digests)

    def _done_by(self, reviewer: str) -> set[int]:
        """The places of which a reviewer has judged every part; kept, as steps must be quick."""
        if reviewer not in self._done:
            self._done[reviewer] = set()
            self._note_done(reviewer, range(len(self.pairs)))
        return self._done[reviewer]

    def _note_slots(self) -> None:
        """Takes note of the slots of what was spoken of since, where pairs of them are shown."""
        for verdict in self._reviews.verdicts[self._seen :]:
            place = self._places.get(verdict.id)
            if verdict.digest and place is not None:
                slot = _slot(self.pairs[place], verdict.role)
                self._by_slot[slot, verdict.role].add(verdict.digest)
        self._seen = len(self._reviews.verdicts)

    def _of(self, reviewer: str, role: Role, digest: str) -> Verdict | None:
        return self._said.get((digest, role), {}).get(reviewer)

    def next_open(self, reviewer: str, after: int = -1) -> int:
        """The first place behind one that a reviewer has still to look at; the end if none."""
        done, end = self._done_by(reviewer), len(self.pairs)
        return next((place for place in range(after + 1, end) if place not in done), end)

    def progress(self, reviewer: str) -> list[dict[str, Any]]:
        """Per cell, how many pairs are shown, and how many of them a reviewer has reviewed."""
        done = Counter(self.pairs[place].cell for place in self._done_by(reviewer))
        return [
            {"cell": cell, "pairs": pairs, "reviewed": done[cell]}
            for cell, pairs in self._totals.items()
        ]

    def shown(self, place: int, reviewer: str) -> dict[str, Any]:
        """The pair at a place, with what a reviewer said of it; of others nothing, who may differ.

        Raises:
            InvalidInput: there is no such place.
        """
        if not 0 <= place < len(self.pairs):
            raise InvalidInput(f"There are {len(self.pairs)} pairs to review, and none at {place}.")
        pair = self.pairs[place]
        parts = []
        for role, digest in pair.digests.items():
            said = self._of(reviewer, role, digest)
            parts.append(
                {
                    "role": role,
                    "digest": digest,
                    "verdict": said and said.verdict,
                    "ratings": said.ratings if said else {},
                    "note": said.note if said else "",
                }
            )
        return {
            "place": place,
            "pairs": len(self.pairs),
            "id": pair.id,
            "cell": pair.cell,
            "emotion": pair.emotion,
            "heard": pair.heard,
            "query": pair.query,
            "response": pair.response,
            "said": [asdict(exchange) for exchange in pair.said],
            "hanging": pair.hanging,
            "parts": parts,
            "struck_before": self._struck_before(pair, reviewer),
        }

    def _struck_before(self, pair: Pair, reviewer: str) -> list[dict[str, str]]:
        """What a reviewer struck in the pair's slots, and a build has put something else for."""
        found = []
        for role, stands in pair.digests.items():
            for digest in sorted(self._by_slot[_slot(pair, role), role] - {stands}):
                said = self._of(reviewer, role, digest)
                if said and said.verdict == STRIKE:
                    found.append({"role": role, "digest": digest, "note": said.note})
        return found

    def take(self, said: Said) -> int:
        """Puts what a reviewer said on file; it is on the disk when this returns.

        Returns:
            The next place that they have still to look at.

        Raises:
            InvalidInput: it is about nothing that the run has or had.
            OSError: the disk is full or fails; nothing of it is kept.
        """
        place = self._places.get(said.id)
        if place is None:
            raise InvalidInput(f"There is no pair {said.id!r:.80} to review. Load the page again.")
        pair = self.pairs[place]
        for part in said.parts:
            known = self._said.get((part.digest, part.role), {})
            taken_back = part.verdict == KEEP and said.reviewer in known
            if pair.digests[part.role] != part.digest and not taken_back:
                raise InvalidInput(
                    f"The {part.role.replace('_', ' ')} of {pair.id} is another one by now. Load "
                    "the page again to see it."
                )
        at = now()
        self._reviews.add(
            [
                Verdict(id=pair.id, reviewer=said.reviewer, at=at, **part.model_dump())
                for part in said.parts
            ]
        )
        self.refresh()
        return self.next_open(said.reviewer, place)

    def sound(self, digest: str) -> bytes:
        """The FLAC file of a clip that is shown; nothing if it is none of these, or is gone."""
        return self._clips.read(digest) if digest in self._sounds else b""


def _slot(pair: Pair, role: Role) -> str:
    return pair.query_id if role in OF_QUERY else pair.id


def _changed_at(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
