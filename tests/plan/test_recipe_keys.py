from typing import Annotated, Literal

import jsonschema
import pytest
import tomlkit
from pydantic import Field

from corpus.errors import SympatheiaError
from corpus.plan.recipe_files import RECIPES, bundled, load_recipe
from corpus.plan.recipe_keys import recipe_keys, recipe_schema, recipe_sections, require_meanings
from schemas.recipe import Recipe
from schemas.recipe_values import Section

TABLES = ("extra", "rules")
"""Keys that hold tables of whatever names."""


class Manner(Section):
    """How it is done."""

    speed: Annotated[float, Field(gt=0, description="How fast.")] = 1.0


class Grown(Recipe):
    manner: Manner = Manner(speed=2.0)
    aloud: Annotated[bool | None, Field(description="Whether one hears it.")] = None
    limit: Annotated[
        int | Literal[False, "report"], Field(description="What refuses, if anything.")
    ] = 7


def test_every_key_of_the_recipe_has_a_meaning():
    keys = recipe_keys()
    require_meanings(keys)
    assert all(key.type != "any value" for key in keys)


def test_a_key_without_a_meaning_is_refused_by_name():
    class Hasty(Recipe):
        hurry: int = 1

    with pytest.raises(SympatheiaError, match=r"Without a meaning: hurry\. .*description"):
        require_meanings(recipe_keys(Hasty))


def test_the_keys_are_those_that_a_recipe_takes(demo):
    def leaves(section, prefix=""):
        for name, value in section.items():
            if isinstance(value, dict) and name not in TABLES:
                yield from leaves(value, f"{prefix}{name}.")
            else:
                yield prefix + name

    assert {key.name for key in recipe_keys()} == set(leaves(demo.model_dump()))


@pytest.mark.parametrize(
    ("name", "kind", "default"),
    [
        ("seed", "whole number: at least 0, below 9,223,372,036,854,775,808", "default 0"),
        ("name", "text: not empty", "required"),
        ("speech.query_voice", "text: not empty", "required"),
        ("anchors", 'text or list of text: "all" or not empty', 'default "all"'),
        ("llm.concurrency", "whole number: 1 to 4,096", "default 256"),
        ("llm.queries.top_p", "number: above 0, at most 1", "default 0.95"),
        ("llm.responses.thinking", "true or false", "default true"),
        ("llm.queries.extra", "table", "default {}"),
        ("speech.backend", 'text: "builtin" or "openai"', 'default "builtin"'),
        ("manner.speed", "number: above 0", "default 2.0"),
        ("aloud", "true or false", "default not set"),
        ("limit", 'whole number or false or text: false or "report"', "default 7"),
    ],
)
def test_type_range_and_default_are_said_in_words(name, kind, default):
    (key,) = [key for key in recipe_keys(Grown) if key.name == name]
    assert (key.kind, key.default_in_words) == (kind, default)


def test_a_new_section_is_listed_with_what_it_is_for():
    assert recipe_sections(Grown)["manner"] == "How it is done."
    assert list(recipe_sections())[:4] == ["emotional", "neutral", "grid", "dialogue"]


def test_a_default_is_written_as_a_recipe_would_give_it():
    for key in recipe_keys():
        if not key.required:
            given = tomlkit.parse(f"value = {key.default_in_words.removeprefix('default ')}")
            assert given.unwrap()["value"] == key.default, key.name


@pytest.mark.parametrize("name", bundled())
def test_the_schema_takes_what_the_recipe_takes_and_refuses_an_unknown_key(name):
    given = tomlkit.parse((RECIPES / f"{name}.toml").read_text()).unwrap()
    given["llm"]["queries"] = {"max_tokens": 50}
    jsonschema.validate(given, recipe_schema())
    given["emotional"]["pairs"] = 3
    with pytest.raises(jsonschema.ValidationError, match="'pairs'"):
        jsonschema.validate(given, recipe_schema())
    assert load_recipe(name)
