"""The blueprint: what is to be made, resolved once and handed on whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpus.plan.prompt_files import Prompts
from corpus.plan.recipe_files import load_recipe, recipe_prompts
from corpus.plan.slot_layout import Plan
from corpus.plan.subsets.subset import Exchange, Manner, SubsetRoom
from corpus.plan.templates import Message
from schemas.prompts import Anchor
from schemas.recipe import Recipe
from schemas.slots import PairSlot, QuerySlot
from schemas.tables import SPEAKERS


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

    def room(self, slot: QuerySlot | PairSlot) -> SubsetRoom:
        """The subset of a slot."""
        return self.plan.rooms[slot.subset if isinstance(slot, QuerySlot) else slot.query.subset]

    def ask_query(
        self, slot: QuerySlot, topic: str, said: Sequence[Exchange] = ()
    ) -> list[Message]:
        """Asks a text model for a query, and tells it who will say it if the templates do."""
        messages = self.room(slot).ask_query(slot, topic, said)
        speaker = self.plan.query_speaker(slot)
        return messages if speaker is None else self.prompts.with_profile(messages, speaker)

    def query_manner(self, slot: QuerySlot) -> Manner:
        """How a query is spoken."""
        return self.room(slot).query_manner(slot)

    def response_manner(self, slot: PairSlot, levels: Sequence[float] = ()) -> Manner:
        """How a response is spoken, given the levels of the queries it is decided by, in dB."""
        return self.room(slot).response_manner(slot, levels)

    def added(self, slot: PairSlot) -> dict[str, Any]:
        """The values of a row's columns beside those of every corpus, where it has any."""
        speakers = (self.plan.query_speaker(slot.query), self.plan.response_speaker(slot))
        cast = zip(SPEAKERS, speakers, strict=True)
        named = {column: speaker.name for column, speaker in cast if speaker}
        return self.room(slot).added(slot) | named

    def target(self, slot: PairSlot) -> Anchor:
        """What a response is suited to: the slot's anchor, or a blend of the anchors around it."""
        return self.room(slot).target(slot)
