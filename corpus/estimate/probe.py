"""A probe: the same run with fewer pairs, made to measure what the others will take.

A slot's requests do not depend on how many slots there are. So what a probe makes belongs to the
run, which grows from it.
"""

from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from schemas.recipe import Recipe


def probe_of(blueprint: Blueprint, pairs: int) -> Blueprint:
    """A blueprint of about so many pairs, some of every cell, as the whole has them.

    Every anchor has at least a pair and, if there is a neutral subset, a neutral query is answered
    for each, so that it may be more pairs than asked for.
    """
    recipe, whole = blueprint.recipe, blueprint.plan.pair_count
    share = min(1.0, pairs / whole)
    emotional = recipe.emotional.pairs_per_anchor
    neutral = recipe.neutral.queries
    sizes = {
        "emotional": {"pairs_per_anchor": _part(emotional, share)},
        "neutral": {"queries": _part(neutral, share)},
    }
    smaller = Recipe.model_validate(recipe.model_dump() | sizes)
    return Blueprint.of(smaller, blueprint.prompts)


def _part(count: int, share: float) -> int:
    return max(1, round(count * share)) if count else 0


def outgrown(folder: RunFolder, probe: Blueprint) -> bool:
    """Whether the run in a folder has begun with more of something than a probe of it has.

    Such a run would have to let go of what it decided, so it is measured as it is.
    """
    if not folder.decisions.exists() or not folder.recipe.exists():
        return False
    begun, small = folder.read_recipe(), probe.recipe
    return (
        begun.emotional.pairs_per_anchor > small.emotional.pairs_per_anchor
        or begun.neutral.queries > small.neutral.queries
    )
