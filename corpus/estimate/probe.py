"""A probe: the same run with fewer pairs, made to measure what the others will take.

A slot's requests do not depend on how many slots there are. So what a probe makes belongs to the
run, which grows from it.
"""

from corpus.plan.blueprint import Blueprint
from corpus.plan.subsets.registry import ROOMS
from corpus.run.run_folder import RunFolder
from schemas.recipe import Recipe


def probe_of(blueprint: Blueprint, pairs: int) -> Blueprint:
    """A blueprint of about so many pairs, some of every cell, as the whole has them.

    Every cell has at least a query, and each query all of its pairs, so that it may be more pairs
    than asked for.
    """
    recipe, whole = blueprint.recipe, blueprint.plan.pair_count
    share = min(1.0, pairs / whole)
    plain = recipe.model_dump()
    sizes = {
        room.name: plain[room.name] | {room.size: _part(room.queries_of(recipe), share)}
        for room in blueprint.plan.rooms.values()
    }
    smaller = Recipe.model_validate(plain | sizes)
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
    return any(room.queries_of(begun) > room.queries_of(small) for room in ROOMS.values())
