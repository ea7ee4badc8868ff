import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
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
from corpus.run.cache_folder import cache_folder
from schemas.recipe import Recipe

SHARED = "TESTS_SHARE"
"""The variable that names the folder of what the processes of a session share."""


LONGEST = (
    "flows/test_corpus.py",
    "flows/test_deployments.py",
    "flows/test_outages.py",
    "flows/test_signals.py",
    "flows/test_cluster.py",
    "flows/test_evaluation.py",
    "adapter/test_training.py",
    "flows/test_prefects_settings.py",
    "flows/test_own_vllm.py",
    "store/test_power_cut.py",
    "hub/test_publish_command.py",
    "handover/test_publish_adapter.py",
    "flows/test_cli.py",
    "flows/test_artifacts.py",
    "adapter/test_speech_tokens.py",
    "adapter/test_training_sequences.py",
)
"""The files that took longest on two quiet cores, from five minutes down to a quarter of one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that those who run them side by side end together."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get("/".join(item.path.parts[-2:]), len(place)))


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
        _begin_a_cache(Path(config.shared) / "cache")


def _begin_a_cache(folder: Path) -> None:
    """The user's cache without what checks remember.

    What an earlier session found must not decide what this one shows.
    """
    (folder / "sympatheia").mkdir(parents=True)
    for kept in cache_folder().glob("*"):
        if kept.name != "checks":
            (folder / "sympatheia" / kept.name).symlink_to(kept)
    os.environ["XDG_CACHE_HOME"] = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "shared"):
        shutil.rmtree(config.shared)
        del os.environ[SHARED]


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory) -> Iterator[str]:
    from flows.services.child import Child
    from flows.services.prefect_server import SERVER

    home = tmp_path_factory.mktemp("prefect")
    with tempfile.TemporaryFile() as log, Child(SERVER, [str(home)], log) as child:
        yield f"{child.ready()}/api"


@pytest.fixture
def shared_prefect(prefect_url, monkeypatch, tmp_path_factory) -> None:
    """Commands that a test runs as processes use one Prefect server, as many users have it.

    A server of the command's own takes twice the time of all else in a small run; it is for the
    tests of what becomes of it.
    """
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path_factory.getbasetemp() / "prefect-home"))


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A run that one process of the session makes, into a folder of the name, for all of them."""
    folder = Path(os.environ[SHARED]) / name
    with filelock.FileLock(f"{folder}.lock"):
        if not (folder / "run" / "corpus").exists():
            folder.mkdir(exist_ok=True)
            make(folder)
    return folder / "run"


@pytest.fixture(scope="session")
def whole() -> Path:
    """A run with all of it: both subsets, both splits, three anchors. Look, and change nothing.

    It is made once in a session, by whichever of its processes needs it first.
    """
    from tests.support.fake_servers import FakeTextServer
    from tests.support.line import speak_and_pack, write_recipe, write_run
    from tests.support.replies import sometimes

    def make(folder: Path) -> None:
        with FakeTextServer(behave=sometimes(["markdown", "short"], 0.2)) as server:
            recipe = write_recipe(folder / "r.toml", server.base_url)
            size = ("emotional.pairs_per_anchor=10", "neutral.queries=4")
            run = write_run(folder / "run", recipe, *size)
        speak_and_pack(run)

    return made_once("whole", make)


@pytest.fixture(scope="session")
def spoken() -> Path:
    """A run of dialogues, answered by how loud the user is. Look, and change nothing."""
    from tests.support.fake_servers import FakeTextServer
    from tests.support.line import SPOKEN, SPOKEN_ANCHORS, speak_and_pack, write_recipe, write_run

    def make(folder: Path) -> None:
        with FakeTextServer() as server:
            recipe = write_recipe(folder / "r.toml", server.base_url, SPOKEN_ANCHORS)
            run = write_run(folder / "run", recipe, *SPOKEN)
        speak_and_pack(run)

    return made_once("spoken", make)


@pytest.fixture(scope="session")
def gridded() -> Path:
    """A run to which a grid was added: three subsets, three anchors. Look, and change nothing.

    Beside it, `asked.json` has how many requests there were until then, and in all.
    """
    from tests.support.fake_servers import FakeTextServer
    from tests.support.line import (
        GRIDDED,
        GRIDDED_ANCHORS,
        speak_and_pack,
        write_recipe,
        write_run,
    )

    def make(folder: Path) -> None:
        with FakeTextServer() as server:
            recipe = write_recipe(folder / "r.toml", server.base_url, GRIDDED_ANCHORS)
            write_run(folder / "run", recipe, *GRIDDED[:2])
            asked = {"without": server.count}
            run = write_run(folder / "run", recipe, *GRIDDED)
            asked["with the grid"] = server.count
        (folder / "asked.json").write_text(json.dumps(asked))
        speak_and_pack(run)

    return made_once("gridded", make)
