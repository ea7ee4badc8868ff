import pytest

from corpus.plan.blueprint import Blueprint
from corpus.plan.subsets.registry import ROOMS, known_to
from schemas.recipe import Recipe
from schemas.slots import SUBSETS
from schemas.tables import ADDED

GRID = ("grid.queries=2", "grid.points=3")


def test_every_subset_has_its_room_in_slot_order():
    assert tuple(ROOMS) == SUBSETS


@pytest.mark.parametrize("room", ROOMS.values())
def test_a_room_has_a_section_of_the_recipe_and_known_columns(room):
    assert room.size in Recipe.model_fields[room.name].annotation.model_fields
    assert set(room.columns) <= set(ADDED)
    assert room.card.endswith(".")


def test_a_corpus_knows_nothing_of_an_optional_subset_that_it_has_none_of():
    assert [room.name for room in known_to(Blueprint.named("demo").recipe)] == SUBSETS_PUBLISHED
    published = Blueprint.named("demo", ("neutral.queries=0",))
    assert list(published.plan.rooms) == SUBSETS_PUBLISHED
    assert published.plan.columns == ()
    assert Blueprint.named("demo", GRID).plan.columns == ("blend",)


SUBSETS_PUBLISHED = ["emotional", "neutral"]


def test_the_slots_of_a_subset_are_the_same_whatever_others_there_are():
    plain, more = Blueprint.named("demo").plan, Blueprint.named("demo", GRID).plan
    pairs = list(plain.pairs())
    assert list(more.pairs())[: len(pairs)] == pairs


def test_every_query_is_asked_for_and_spoken_by_its_subset():
    blueprint = Blueprint.named("demo", GRID)
    slots = {slot.subset: slot for slot in blueprint.plan.queries()}
    asked = {name: blueprint.room(slot).ask_query(slot, "rice") for name, slot in slots.items()}
    assert asked["grid"] == asked["neutral"] != asked["emotional"]
    assert blueprint.query_manner(slots["grid"]) == blueprint.query_manner(slots["neutral"])
    assert blueprint.query_manner(slots["emotional"]).style.startswith("Very ")
