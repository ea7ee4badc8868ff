import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import filelock
import pytest

# Tests send Ctrl-C and SIGHUP to what they start. A process that a shell started in the background,
# or nohup, ignores them, and so would its children.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Nothing in the tests may reach beyond this machine.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

from corpus.plan.prompt_files import BUNDLED, Prompts, load_prompts
from corpus.plan.recipe_files import load_recipe
from schemas.recipe import Recipe

SHARED = "TESTS_SHARE"
"""The variable that names the folder of what the processes of a session share."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that those who run them side by side end together."""
    items.sort(key=lambda item: "flows" not in item.path.parts)


@pytest.fixture(scope="session")
def prompts() -> Prompts:
    return load_prompts(BUNDLED, "full")


@pytest.fixture(scope="session")
def demo() -> Recipe:
    return load_recipe("demo")


def pytest_configure(config: pytest.Config) -> None:
    """One folder for what all processes of a session share; they inherit its name."""
    if SHARED not in os.environ:
        config.shared = os.environ[SHARED] = tempfile.mkdtemp(prefix="tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "shared"):
        shutil.rmtree(config.shared)
        del os.environ[SHARED]


@pytest.fixture(scope="session")
def whole() -> Path:
    """A run with all of it: both subsets, both splits, three anchors. Look, and change nothing.

    It is made once in a session, by whichever of its processes needs it first.
    """
    from tests.support.fake_servers import FakeTextServer
    from tests.support.line import speak_and_pack, write_recipe, write_run
    from tests.support.replies import sometimes

    folder = Path(os.environ[SHARED]) / "whole"
    with filelock.FileLock(f"{folder}.lock"):
        if not (folder / "run" / "corpus").exists():
            folder.mkdir(exist_ok=True)
            with FakeTextServer(behave=sometimes(["markdown", "short"], 0.2)) as server:
                recipe = write_recipe(folder / "r.toml", server.base_url)
                size = ("emotional.pairs_per_anchor=10", "neutral.queries=4")
                run = write_run(folder / "run", recipe, *size)
            speak_and_pack(run)
    return folder / "run"
