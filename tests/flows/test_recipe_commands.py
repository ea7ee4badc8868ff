"""The commands about recipes, in this process."""

import json
import tomllib

from click.testing import CliRunner

from corpus.plan.recipe_keys import recipe_keys
from flows.cli.main import cli


def printed(*arguments: str) -> str:
    ran = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert ran.exit_code == 0
    return ran.stdout


def test_recipe_show_prints_toml_with_origins():
    shown = printed("recipe", "show", "demo", "--set", "neutral.queries=4")
    assert "queries = 4 # override\n" in shown
    assert "pairs_per_anchor = 2 # file\n" in shown
    assert "eval_fraction = 0.3 # default\n" in shown
    assert tomllib.loads(shown)["name"] == "demo"


def test_recipe_keys_prints_each_key_with_all_that_is_known_of_it():
    listed = json.loads(printed("recipe", "keys", "--json"))
    assert [key["name"] for key in listed] == [key.name for key in recipe_keys()]
    (threshold,) = [key for key in listed if key["name"] == "dedup.threshold"]
    assert threshold.keys() == {"name", "type", "range", "required", "default", "meaning"}
    assert (threshold["default"], threshold["range"]) == (0.85, "above 0, at most 1")
    words = printed("recipe", "keys")
    assert "dedup.threshold  (number: above 0, at most 1; default 0.85)\n    Cosine" in words
