"""Recipes and prompts that were damaged in some hundred ways: read well, or refused in words."""

import random
import shutil
import tomllib
from pathlib import Path

import orjson
import pytest
import tomli_w
import yaml

from corpus.errors import InvalidInput
from corpus.plan.prompt_files import BUNDLED, load_prompts
from corpus.plan.recipe_files import (
    RECIPES,
    bundled,
    dump_recipe,
    load_recipe,
    read_resolved,
    recipe_prompts,
)
from corpus.servers.chat_requests import ChatRequest
from tests.support.mutations import VALUES, YAML_VALUES, in_words, mutate_value, mutated_bytes

SEEDS = range(40)


def read_recipe(path: Path, prompts) -> None:
    """Reads a recipe; one that is good can be filed, read back and sent, whatever it holds."""
    try:
        recipe = load_recipe(str(path))
    except InvalidInput as error:
        assert in_words(error), str(error)
        return
    assert read_resolved(dump_recipe(recipe, prompts), "recipe.toml") == recipe
    for sampling in (recipe.llm.queries, recipe.llm.responses, recipe.llm.judge):
        assert ChatRequest.sampled(recipe.llm.model, [], sampling, recipe.seed).digest()
    try:
        recipe_prompts(recipe)
    except InvalidInput as error:
        assert in_words(error), str(error)


@pytest.mark.parametrize("name", bundled())
def test_a_damaged_recipe_is_read_well_or_refused_in_words(tmp_path, prompts, name):
    path = tmp_path / "r.toml"
    content = (RECIPES / f"{name}.toml").read_bytes()
    for seed in SEEDS:
        path.write_bytes(mutated_bytes(content, random.Random(seed)))
        read_recipe(path, prompts)
    for seed in SEEDS:
        chance, data = random.Random(seed), tomllib.loads(content.decode())
        for _ in range(chance.choice((1, 1, 2, 4))):
            mutate_value(data, chance, VALUES)
        path.write_text(tomli_w.dumps(data))
        read_recipe(path, prompts)


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    """The bundled folder with its first two anchors and topics of two groups."""
    folder = shutil.copytree(BUNDLED, tmp_path_factory.mktemp("few") / "prompts")
    shutil.rmtree(folder / "templates" / "small")
    for name, ends in (("anchors.yaml", "\n  - name: content"), ("topics.yaml", "\n  health")):
        text = (folder / name).read_text().replace("fear: anxious", "fear: excited")
        text = text.replace("contempt: disgusted", "contempt: excited")
        assert ends in text
        (folder / name).write_text(text.partition(ends)[0] + "\n")
    (folder / "rules.yaml").write_text(
        "meta_openings: [here is]\nrole_labels: [user]\nassistant_lines: [i am here]\n"
        "user_lines: [tell me]\nemotion_words: [happy]\n"
    )
    load_prompts(folder, "full")
    return folder


def read_prompts(folder: Path) -> None:
    """Reads prompts; of a good folder every message can be sent."""
    try:
        prompts = load_prompts(folder, "full")
    except InvalidInput as error:
        assert in_words(error), str(error)
        assert str(folder) in str(error)
        return
    assert prompts.digest
    for anchor in prompts.anchors:
        for topic in prompts.topics:
            assert orjson.dumps(prompts.emotional_query(anchor, topic))
        assert orjson.dumps(prompts.neutral_response(anchor, "How so?"))


@pytest.mark.parametrize(
    "name",
    ["anchors.yaml", "topics.yaml", "rules.yaml", "templates/full/emotional_response.jinja"],
)
def test_damaged_prompts_are_read_well_or_refused_in_words(few, name):
    path = few / name
    content = path.read_bytes()
    try:
        for seed in SEEDS:
            path.write_bytes(mutated_bytes(content, random.Random(seed)))
            read_prompts(few)
        for seed in SEEDS if name.endswith(".yaml") else ():
            chance, data = random.Random(seed), yaml.safe_load(content)
            for _ in range(chance.choice((1, 1, 2, 4))):
                mutate_value(data, chance, YAML_VALUES)
            path.write_text(yaml.safe_dump(data, sort_keys=False))
            read_prompts(few)
    finally:
        path.write_bytes(content)
