"""How much of a run was reviewed by people: what its card says, and what a build awaits."""

import math
from collections import Counter
from dataclasses import dataclass

from corpus.dataset.dataset_card import Review
from corpus.review.agreement import agreement
from corpus.review.pairs import pairs_to_review
from corpus.review.verdicts import Reviews, Verdicts, in_words, is_struck
from corpus.run.run_folder import RunFolder


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
        share: of each cell's pairs, that is wanted; a part of a pair counts as a whole one.

    Raises:
        InvalidInput: it is no run folder, or nothing of it was spoken yet.
        SympatheiaError: the file of verdicts or a table of the run is damaged.
    """
    reviews = Reviews(folder.reviews)
    reviews.settle(folder)
    planned, reviewed = _by_cell(folder, reviews.counting())
    return [
        CellCoverage(cell, pairs, reviewed[cell], math.ceil(share * pairs))
        for cell, pairs in planned.items()
    ]


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
    plan = folder.blueprint().plan
    known = {slot.id for slot in plan.queries()} | {pair.id for pair in plan.pairs()}
    said = {
        item: of for item, of in reviews.standing().items() if next(iter(of.values())).id in known
    }
    if not said:
        return None
    planned, reviewed = _by_cell(folder, said)
    return Review(
        pairs=reviewed.total(),
        of=planned.total(),
        reviewers=len({reviewer for of in said.values() for reviewer in of}),
        struck=sum(is_struck(of) for of in said.values()),
        agreement=_agreement(said),
    )


def _agreement(said: Verdicts) -> str:
    """How far reviewers agree, in words; nothing where that cannot be told."""
    told = agreement(in_words(said))
    if told["kappa"] is None:
        return ""
    return f"{told['measure']} {told['kappa']:.2f} over what more than one of them judged"
