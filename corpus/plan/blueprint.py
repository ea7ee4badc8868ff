"""The blueprint: what is to be made, resolved once and handed on whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corpus.plan.prompt_files import Prompts
from corpus.plan.recipe_files import load_recipe, recipe_prompts
from corpus.plan.slot_layout import Plan
from schemas.prompts import Point
from schemas.recipe import Recipe
from schemas.slots import PairSlot, QuerySlot


@dataclass(frozen=True, slots=True)
class Manner:
    """How something is said: the words a styled voice is told, and the point of the plane."""

    style: str
    point: Point


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A recipe with its prompts, and every slot that follows from both.

    Made by `of` or `named`; a run folder (`RunFolder.blueprint`) and the manifest of a dataset
    (`Manifest.blueprint`) give theirs.
    """

    recipe: Recipe
    prompts: Prompts
    plan: Plan

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        prompts: Prompts | None = None,
        layout: Mapping[str, str] | None = None,
    ) -> "Blueprint":
        """The blueprint of a recipe.

        Args:
            recipe: what it is made from.
            prompts: its prompts, where they are known; else they are read from its folder.
            layout: of a corpus that was not made from a plan, its slots by cell.

        Raises:
            InvalidInput: the prompts folder is incomplete, or lacks an anchor of the recipe.
        """
        prompts = prompts or recipe_prompts(recipe)
        return cls(recipe, prompts, Plan(recipe, prompts, layout))

    @classmethod
    def named(cls, name_or_path: str, overrides: Sequence[str] = ()) -> "Blueprint":
        """The blueprint of a bundled recipe or of a TOML file, with `KEY=VALUE` overrides.

        Raises:
            InvalidInput: see `load_recipe` and `of`.
        """
        return cls.of(load_recipe(name_or_path, overrides))

    def query_manner(self, slot: QuerySlot) -> Manner:
        """How a query is spoken: in its anchor's emotion, or neutrally."""
        if slot.anchor is None:
            neutral = self.prompts.anchor_file.neutral_query
            return Manner(neutral.style, neutral.delivery)
        anchor = self.plan.anchors[slot.anchor]
        return Manner(anchor.query_style, anchor.point)

    def response_manner(self, slot: PairSlot) -> Manner:
        """How a response is spoken: in its anchor's response style."""
        anchor = self.plan.anchors[slot.anchor]
        return Manner(anchor.response_style, anchor.response_delivery)
