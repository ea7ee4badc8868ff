"""How much of a run was reviewed by people: what its card says, and what a build awaits."""

import math
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from corpus.dataset.dataset_card import Review
from corpus.review.pairs import OF_QUERY, pairs_to_review
from corpus.review.verdicts import (
    Reviews,
    Verdict,
    Verdicts,
    in_words,
    is_struck,
    standing_digests,
)
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import read_rows
from corpus.run.strikes import STRUCK_IN_REVIEW
from schemas.names import Stage


@dataclass(frozen=True, slots=True)
class CellCoverage:
    """How much of a cell was reviewed: its `pairs`, those `reviewed`, and how many are `wanted`."""

    cell: str
    pairs: int
    reviewed: int
    wanted: int

    @property
    def lacking(self) -> int:
        """Pairs that are still to be reviewed."""
        return max(0, self.wanted - self.reviewed)


def coverage(folder: RunFolder, share: float) -> list[CellCoverage]:
    """How much was reviewed, cell by cell: pairs of which, as they stand, each part was judged.

    Args:
        folder: a run that was spoken.
        share: of each cell's pairs, that is wanted.

    Raises:
        InvalidInput: it is no run folder, or nothing of it was spoken yet.
        SympatheiaError: the file of verdicts or a table of the run is damaged.
    """
    reviews = Reviews(folder.reviews)
    reviews.settle(folder)
    planned, reviewed = _by_cell(folder, reviews.counting())
    return [
        CellCoverage(cell, pairs, reviewed[cell], share_of(pairs, share))
        for cell, pairs in planned.items()
    ]


def share_of(pairs: int, share: float) -> int:
    """How many pairs a share of some is; a part of a pair counts as a whole one."""
    # The share as it is written: as a float, 0.07 of 100 is a little more than 7.
    return math.ceil(Decimal(str(share)) * pairs)


def _by_cell(folder: RunFolder, said: Verdicts) -> tuple[Counter[str], Counter[str]]:
    """By cell, the pairs that stand, and those of which each part has a verdict."""
    pairs = pairs_to_review(folder)
    whole = [
        pair for pair in pairs if all((one, role) in said for role, one in pair.digests.items())
    ]
    return Counter(pair.cell for pair in pairs), Counter(pair.cell for pair in whole)


def reviewed_by_people(folder: RunFolder) -> Review | None:
    """What the card of a run's corpus says of its review; None where nothing that was said stands.

    What was taken back counts as never said, so that the first corpus is there again, and its card.

    Raises:
        SympatheiaError: the file of verdicts or a table of the run is damaged.
    """
    if not folder.reviews.exists():
        return None
    reviews = Reviews(folder.reviews)
    reviews.settle(folder)
    stands = {(digest, role) for (_, role), digest in standing_digests(folder).items()}
    refused = _refused(folder)
    queries = {pair.id: pair.query.id for pair in folder.blueprint().plan.pairs()}
    said = {
        item: of
        for item, of in reviews.standing().items()
        if item in stands or (is_struck(of) and _place(of, queries) in refused)
    }
    if not said:
        return None
    planned, reviewed = _by_cell(folder, said)
    return Review(
        pairs=reviewed.total(),
        of=planned.total(),
        reviewers=len({reviewer for of in said.values() for reviewer in of}),
        struck=len(said.keys() - stands),
        agreement=_agreement(said),
    )


def _refused(folder: RunFolder) -> set[tuple[str, str]]:
    """Stage and slot of what the last build refused for being struck."""
    rows = read_rows(folder.rejects)
    return {(row["stage"], row["slot"]) for row in rows if row["reason"] == STRUCK_IN_REVIEW}


def _place(said: dict[str, Verdict], queries: dict[str, str]) -> tuple[Stage, str]:
    """Stage and slot of what reviewers speak of, as the table of what was refused has them."""
    one = next(iter(said.values()))
    slot = queries.get(one.id, one.id) if one.role in OF_QUERY else one.id
    match one.role:
        case "query":
            return "queries", slot
        case "response":
            return "responses", slot
    return "speech", f"{slot}-{one.role.removesuffix('_clip')}"


def _agreement(said: Verdicts) -> str:
    """How far reviewers agree, in words; nothing where that cannot be told."""
    # Imported here: its library takes a second, and few builds have anything to say of it.
    from corpus.review.agreement import agreement

    told = agreement(in_words(said))
    if told["kappa"] is None:
        return ""
    return f"{told['measure']} {told['kappa']:.2f} over what more than one of them judged"
