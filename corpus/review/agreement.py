"""How far people who judged the same things agree, beyond what chance would have them agree."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any

from sklearn.metrics import cohen_kappa_score

DIGITS = 4
COHEN, FLEISS = "Cohen's kappa", "Fleiss' kappa"

Judgements = Mapping[Hashable, Mapping[str, str]]
"""By thing and by judge, what each said of it."""


def agreement(judgements: Judgements) -> dict[str, Any]:
    """How far judges agree on the things that at least two of them judged.

    Returns:
        `things` that two or more judged, the share `agreed` of them on which all say the same, and
        `kappa` by `measure`: Cohen's of two judges, over what both judged; Fleiss' of more, over
        what all of them judged. Null where there is nothing to tell it from: nothing that all
        judged, or all said the same of everything. `pairs` has Cohen's for every two judges.
    """
    shared = {thing: said for thing, said in judgements.items() if len(said) > 1}
    judges = sorted({judge for said in shared.values() for judge in said})
    alike = sum(len(set(said.values())) == 1 for said in shared.values())
    pairs = [
        {"judges": [one, other], **cohen(list(shared.values()), one, other)}
        for one, other in combinations(judges, 2)
    ]
    of_all = [list(said.values()) for said in shared.values() if len(said) == len(judges)]
    two = len(judges) == 2
    return {
        "things": len(shared),
        "agreed": round(alike / len(shared), DIGITS) if shared else None,
        "measure": COHEN if two else FLEISS,
        "kappa": pairs[0]["kappa"] if two else fleiss(of_all),
        "judged_by_all": len(of_all) if shared else 0,
        "pairs": pairs,
    }


def cohen(said: Sequence[Mapping[str, str]], one: str, other: str) -> dict[str, Any]:
    """Cohen's kappa of two judges over what both judged (Cohen 1960)."""
    both = [(these[one], these[other]) for these in said if one in these and other in these]
    kappa = None
    # Where both always say the same one thing, chance explains it all and nothing can be told.
    if len({word for words in both for word in words}) > 1:
        firsts, seconds = zip(*both, strict=True)
        kappa = round(float(cohen_kappa_score(firsts, seconds)), DIGITS)
    return {"things": len(both), "kappa": kappa}


def fleiss(said: Sequence[Sequence[str]]) -> float | None:
    """Fleiss' kappa of things of which each was judged by equally many (Fleiss 1971)."""
    words = sorted({word for these in said for word in these})
    if len(words) < 2:
        return None
    # Imported here: what brings PyTorch takes seconds, and most reviews have one or two reviewers.
    import torch
    from torchmetrics.functional.nominal import fleiss_kappa

    counts = torch.tensor([[these.count(word) for word in words] for these in said])
    return round(float(fleiss_kappa(counts)), DIGITS)
