import os

import pytest

# Nothing in the tests may reach beyond this machine.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

from corpus.prompts import BUNDLED, Prompts, load_prompts
from corpus.recipes import load_recipe
from schemas.recipe import Recipe


@pytest.fixture(scope="session")
def prompts() -> Prompts:
    return load_prompts(BUNDLED, "full")


@pytest.fixture(scope="session")
def demo() -> Recipe:
    return load_recipe("demo")
