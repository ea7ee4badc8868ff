import tomllib

import pytest

from corpus.errors import InvalidInput
from corpus.plan.recipe_files import bundled, load_recipe
from corpus.plan.recipe_keys import recipe_keys
from corpus.plan.recipe_listing import recipe_listing
from schemas.recipe import Recipe


def origins(listing: str) -> dict[str, str]:
    """The origin behind each key, by its dotted name."""
    found, section = {}, ""
    for line in listing.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif " = " in line:
            found[section + line.partition(" = ")[0]] = line.rpartition(" # ")[2]
    return found


def test_each_value_stands_with_where_it_is_from(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'name = "mine"\nseed = 0\n[llm.queries]\nmax_tokens = 50\ntop_p = 0.9\n'
        'extra = { top_k = 40 }\n[speech]\nquery_voice = "heron"\nresponse_voice = "wren"\n'
    )
    overrides = [
        "emotional.pairs_per_anchor=3",
        "llm.queries.extra.min_p=0.1",
        "llm.judge={ threshold = 4 }",
        "llm.queries.top_p = 0.8",
    ]
    found = origins(recipe_listing(str(mine), overrides))
    assert found.keys() == {key.name for key in recipe_keys()}
    assert {name for name, origin in found.items() if origin == "file"} == {
        *("name", "seed", "llm.queries.max_tokens"),
        *("speech.query_voice", "speech.response_voice"),
    }
    assert {name for name, origin in found.items() if origin == "override"} == {
        *("emotional.pairs_per_anchor", "llm.queries.top_p", "llm.queries.extra"),
        "llm.judge.threshold",
    }
    assert set(found.values()) == {"file", "override", "default"}


def test_an_override_that_replaces_a_section_leaves_nothing_of_the_file_in_it():
    found = origins(recipe_listing("demo", ["llm.queries={ max_tokens = 9 }"]))
    assert found["llm.queries.max_tokens"] == "override"
    assert found["llm.queries.temperature"] == "default"


@pytest.mark.parametrize("name", bundled())
def test_the_listing_is_a_recipe_that_gives_the_same_run(name):
    overrides = ['llm.endpoints=["http://a/v1", "http://b/v1"]', "llm.queries.extra={ k = [1, 2] }"]
    listing = recipe_listing(name, overrides)
    assert Recipe.model_validate(tomllib.loads(listing)) == load_recipe(name, overrides)


def test_a_listing_is_refused_as_the_recipe_is():
    with pytest.raises(InvalidInput, match="unknown key"):
        recipe_listing("demo", ["emotional.pairs=3"])
