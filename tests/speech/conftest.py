import numpy as np
import pytest

from corpus.voices.builtin_synthesis import Voice
from tests.support.fake_servers import FakeTextServer
from tests.support.line import write_recipe, write_run
from tests.support.speech_server import SAID


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    return Voice().speak(SAID, speaker="wren", valence=0.0, arousal=0.0, seed=0)


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A run whose texts are written, and its recipe: three queries and three responses."""
    folder = tmp_path_factory.mktemp("speech")
    with FakeTextServer() as server:
        recipe = write_recipe(folder / "r.toml", server.base_url, anchors=("sad",))
        shape = ["emotional.pairs_per_anchor=2", "neutral.queries=1"]
        return write_run(folder / "run", recipe, *shape), recipe, shape
