"""A run that people review: texts and clips of a local server, built in some seconds."""

import pytest

from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from flows.work import at_work
from tests.support.line import embedding_once, write_recipe
from tests.support.voice_server import FakeVoiceServer, hum

SETTINGS = (
    'speech.backend="openai"',
    'speech.model="hum"',
    "speech.prosody=false",
    "speech.concurrency=4",
    "llm.concurrency=4",
    "emotional.pairs_per_anchor=8",
    "neutral.queries=6",
    "dedup.threshold=0.6",
)


class Line(FakeVoiceServer):
    """Writes and speaks."""

    def __init__(self):
        super().__init__()
        self.speak = self._hum
        self.spoken: list[str] = []

    def _hum(self, item, together):
        self.spoken.append(item["input"])
        return hum(item)

    def build(self, folder, *more, anchors=("sad", "angry", "tired")):
        recipe = write_recipe(folder.parent / "r.toml", self.base_url, anchors)
        run = RunFolder(folder)
        settings = [*SETTINGS, f'speech.endpoints=["{self.base_url}"]', *more]
        with at_work(run, Blueprint.named(str(recipe), settings), "shards") as work:
            work.texts()
            work.speak()
            work.pack()
        return run


@pytest.fixture(scope="package")
def line():
    with Line() as running:
        yield running


@pytest.fixture(scope="package", autouse=True)
def embedding():
    with embedding_once():
        yield


@pytest.fixture(scope="package")
def built(tmp_path_factory, line, embedding):
    """42 pairs of 30 queries; to be copied before anything is changed in it."""
    return line.build(tmp_path_factory.mktemp("review") / "run")
