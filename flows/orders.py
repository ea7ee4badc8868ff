"""What an order for a corpus means on this machine, found out before anything runs."""

from dataclasses import dataclass
from pathlib import Path

from corpus.errors import InvalidInput
from corpus.plan.prompt_files import Prompts
from corpus.plan.recipe_files import load_recipe, recipe_prompts
from corpus.plan.slot_layout import Plan
from corpus.run.run_folder import RunFolder
from corpus.speech.builtin_voice import require_speakers
from schemas.names import STAGES
from schemas.orders import CorpusOrder
from schemas.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Resolved:
    """The recipe of an order, with all that follows from it."""

    recipe: Recipe
    prompts: Prompts
    plan: Plan
    run: RunFolder


def resolve(order: CorpusOrder) -> Resolved:
    """Reads what an order for a corpus names, and refuses what cannot be built.

    Raises:
        InvalidInput: the recipe, an override, the prompts or a voice cannot be used, or a training
            is to follow a dataset that is not made.
    """
    if order.then_train and order.until != STAGES[-1]:
        raise InvalidInput(
            f"A training is to follow (then_train), but the build ends with {order.until} and "
            f"makes no dataset. Set until to '{STAGES[-1]}', or leave then_train out."
        )
    recipe = load_recipe(str(order.recipe), order.overrides)
    prompts = recipe_prompts(recipe)
    plan = Plan(recipe, prompts)
    if recipe.speech.backend == "builtin":
        require_speakers(recipe.speech)
    return Resolved(recipe, prompts, plan, RunFolder(order.run_dir or Path("runs") / recipe.name))
