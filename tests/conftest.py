import os
import signal
import threading
from pathlib import Path

import pytest

# Tests send Ctrl-C to what they start. A process that a shell started in the background ignores it,
# and so would its children.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing in the tests may reach beyond this machine.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

from corpus.plan.prompt_files import BUNDLED, Prompts, load_prompts
from corpus.plan.recipe_files import load_recipe
from schemas.recipe import Recipe


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that those who run them side by side end together."""
    items.sort(key=lambda item: "flows" not in item.path.parts)


@pytest.fixture(scope="session")
def prompts() -> Prompts:
    return load_prompts(BUNDLED, "full")


@pytest.fixture(scope="session")
def demo() -> Recipe:
    return load_recipe("demo")


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """A run with all of it: both subsets, both splits, three anchors. Look, and change nothing."""
    from tests.support.fake_servers import FakeTextServer
    from tests.support.line import speak_and_pack, write_recipe, write_run
    from tests.support.replies import sometimes

    folder = tmp_path_factory.mktemp("whole")
    with FakeTextServer(behave=sometimes(["markdown", "short"], 0.2)) as server:
        recipe = write_recipe(folder / "r.toml", server.base_url)
        run = write_run(
            folder / "run", recipe, "emotional.pairs_per_anchor=10", "neutral.queries=4"
        )
    speak_and_pack(run)
    return run.root
