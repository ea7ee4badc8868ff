import os
from pathlib import Path

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


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """A run with all of it: both subsets, both splits, three anchors. Look, and change nothing."""
    from tests.line import speak_and_pack, write_recipe, write_run
    from tests.replies import sometimes
    from tests.servers import FakeTextServer

    folder = tmp_path_factory.mktemp("whole")
    with FakeTextServer(behave=sometimes(["markdown", "short"], 0.2)) as server:
        recipe = write_recipe(folder / "r.toml", server.base_url)
        run = write_run(
            folder / "run", recipe, "emotional.pairs_per_anchor=10", "neutral.queries=4"
        )
    speak_and_pack(run)
    return run.root
