"""Every subset, in slot order: whoever needs something of one looks here."""

from collections.abc import Mapping
from pathlib import Path

from corpus.plan.prompt_files import ANNOTATE, CAST, OWN_FILES, Prompts
from corpus.plan.subsets.dialogue import Dialogue
from corpus.plan.subsets.emotional import Emotional
from corpus.plan.subsets.grid import Grid
from corpus.plan.subsets.neutral import Neutral
from corpus.plan.subsets.subset import SubsetRoom
from schemas.prompts import Anchor
from schemas.recipe import Recipe
from schemas.slots import Subset

ROOMS: Mapping[Subset, type[SubsetRoom]] = {
    room.name: room for room in (Emotional, Neutral, Grid, Dialogue)
}
"""What each subset of `schemas.slots.SUBSETS` is."""


def known_to(recipe: Recipe) -> tuple[type[SubsetRoom], ...]:
    """The subsets that a corpus of a recipe speaks of: all but the optional ones it has none of."""
    return tuple(
        room for room in ROOMS.values() if not room.optional or room.queries_of(recipe) > 0
    )


def own_templates(recipe: Recipe) -> tuple[str, ...]:
    """Names of what a recipe has that not every corpus has, and brings templates of its own."""
    optional = tuple(room.name for room in known_to(recipe) if room.optional)
    return (*optional, CAST) if recipe.speech.cast else optional


def there(folder: Path, template_set: str) -> tuple[str, ...]:
    """What a prompts folder has of optional subsets and more, for a set of templates."""
    templates = folder / "templates" / template_set
    names = [*(name for name, room in ROOMS.items() if room.optional), ANNOTATE]
    found = tuple(name for name in names if (templates / name).is_dir())
    return (*found, CAST) if (folder / OWN_FILES[CAST]).is_file() else found


def require_rendered(prompts: Prompts) -> None:
    """Passes if the templates of what prompts are loaded for beside every corpus's render.

    Raises:
        InvalidInput: one is missing or does not render.
    """
    anchors = {anchor.name: anchor for anchor in prompts.anchors}
    for room in ROOMS.values():
        if room.name in prompts.more:
            for _ in room.samples(prompts, anchors):
                pass
    for speaker in prompts.speakers:
        prompts.with_profile([{"role": "user", "content": "-"}], speaker)


def rooms_of(
    recipe: Recipe, prompts: Prompts, anchors: Mapping[str, Anchor]
) -> dict[Subset, SubsetRoom]:
    """The subsets of a recipe by name, in slot order.

    Raises:
        InvalidInput: one cannot be made of these anchors.
    """
    return {room.name: room(recipe, prompts, anchors) for room in known_to(recipe)}
