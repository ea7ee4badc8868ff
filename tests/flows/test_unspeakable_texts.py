"""Texts that the voice cannot say: struck, asked for anew, and the corpus comes out exact."""

import time

import pytest

from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.plan.rules import Verdict
from corpus.run.run_folder import RunFolder
from corpus.run.strikes import Strike, Strikes
from corpus.store.line_log import read_log
from flows.work import at_work
from tests.support.line import files_of, rows, start, sympatheia, texts_of, write_recipe
from tests.support.voice_server import FakeVoiceServer, hum

PAIRS, QUERIES = 14, 11


class Line(FakeVoiceServer):
    """Writes and speaks; cuts off each clip of a text that it cannot say."""

    def __init__(self):
        super().__init__()
        self.speak = self._hum
        self.unspeakable: set[str] = set()
        self.clips = 0

    def _hum(self, item, together):
        self.clips += 1
        whole = 0.3 * len(item["input"].split())
        return hum(item, seconds=whole - 0.15 if item["input"] in self.unspeakable else whole)

    def asked(self):
        return {(str(body["messages"]), body["seed"]) for body in self.bodies}


SETTINGS = (
    'speech.backend="openai"',
    'speech.model="hum"',
    "speech.prosody=false",
    "speech.concurrency=4",
    "llm.concurrency=4",
)


def given(folder, server, *more):
    recipe = write_recipe(folder / "r.toml", server.base_url, anchors=("sad", "angry"))
    return recipe, [*SETTINGS, f'speech.endpoints=["{server.base_url}"]', *more]


def build(folder, server, *more):
    recipe, settings = given(folder.parent, server, *more)
    run = RunFolder(folder)
    with at_work(run, Blueprint.named(str(recipe), settings), "shards") as work:
        work.texts()
        work.speak()
        work.pack()
    return run


@pytest.fixture(scope="module")
def server():
    with Line() as running:
        yield running


@pytest.fixture(scope="module")
def found(tmp_path_factory, server, one_embedder):
    """A run whose voice could say everything, and one whose could not say two of those texts."""
    folder = tmp_path_factory.mktemp("unspeakable")
    good = build(folder / "good", server)
    texts = texts_of(good)
    server.unspeakable = {texts["neutral-00001"], texts["response emotional-sad-00002"]}
    before = server.asked()
    server.requests.clear()
    run = build(folder / "run", server)
    return good, run, server.asked() - before


def test_each_is_asked_for_anew_and_all_else_stays(found, server):
    good, run, _ = found
    before, after = texts_of(good), texts_of(run)
    changed = {slot for slot in after if after[slot] != before[slot]}
    hanging = {f"response neutral-00001-{anchor}" for anchor in ("sad", "angry")}
    assert changed == {"neutral-00001", "response emotional-sad-00002"} | hanging
    assert len(rows(run.clips)) == PAIRS + QUERIES
    assert not server.unspeakable & set(after.values())
    struck = [row for row in rows(run.rejects) if row["reason"] == "unspeakable_clip"]
    assert [(row["stage"], row["slot"], row["text"]) for row in struck] == [
        ("queries", "neutral-00001", before["neutral-00001"]),
        ("responses", "emotional-sad-00002", before["response emotional-sad-00002"]),
    ]
    assert [
        (strike["slot"], strike["why"])
        for line in read_log(run.strikes)
        for strike in line["strikes"]
    ] == [
        ("emotional-sad-00002", "cut_off in every attempt"),
        ("neutral-00001", "cut_off in every attempt"),
    ]


def test_nothing_else_is_asked_for_again(found, server):
    _, run, new = found
    assert len(new) == 2 + 2  # both texts, and the responses to the query
    files, asked, clips = files_of(run), server.count, server.clips
    build(run.root, server)
    assert (files_of(run), server.count, server.clips) == (files, asked, clips)


def test_the_store_alone_gives_the_same_with_nothing_asked(tmp_path, found, server):
    _, run, _ = found
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "store").symlink_to(run.store)
    asked, clips = server.count, server.clips
    again = build(tmp_path / "run", server)
    assert (files_of(again), server.count, server.clips) == (files_of(run), asked, clips)


def test_killed_and_continued_it_is_the_same(tmp_path, found, server):
    _, run, _ = found
    recipe, settings = given(tmp_path, server)
    again = RunFolder(tmp_path / "again")
    options = [part for setting in settings for part in ("--set", setting)]
    command = ["build", recipe, "--run-dir", again.root, *options]
    begun = server.clips
    for number, reached in enumerate(
        (lambda: server.clips - begun >= 10, again.strikes.exists, again.clips.exists)
    ):
        process = start(*command, log=tmp_path / f"log{number}")
        while not reached():
            assert process.poll() is None, (tmp_path / f"log{number}").read_text()
            time.sleep(0.002)
        process.kill()
        process.wait()
    done = sympatheia(*command)
    assert done.returncode == 0, done.stderr
    assert files_of(again) == files_of(run)


def test_a_slot_whose_every_text_is_unspeakable_is_given_up_with_the_reason(tmp_path, server):
    good = build(tmp_path / "good", server, "seed=5")
    server.unspeakable = {texts_of(good)["emotional-sad-00001"]}
    with pytest.raises(
        SympatheiaError, match=r"emotional-sad-00001.* refused as unspeakable_clip 1x"
    ):
        build(tmp_path / "run", server, "seed=5", "llm.max_attempts=1")


def test_strikes_are_on_file_by_the_request_that_made_the_text(tmp_path):
    path, good = tmp_path / "strikes.jsonl", Verdict(None, ("long",))
    strikes = Strikes(path)
    none = strikes.digest
    strikes.add([Strike("a", "unspeakable_clip", "slot", "silent in every attempt")])
    strikes.add([Strike("b", "struck_in_review", "slot", "by one who listened")])
    for found in (strikes, Strikes(path)):
        assert found.over("a", good) == Verdict("unspeakable_clip")
        assert found.over("b", good) == Verdict("struck_in_review")
        assert found.over("c", good) == good
        assert found.digest != none
    path.write_bytes(path.read_bytes()[:-5])
    assert Strikes(path).over("b", good) == good


@pytest.mark.parametrize(
    "line", ['{"strikes": [{"digest": 1}]}', '{"other": []}', '{"strikes": 3}']
)
def test_a_file_that_is_damaged_ends_in_a_sentence(tmp_path, line):
    path = tmp_path / "strikes.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(SympatheiaError, match="holds no strikes"):
        Strikes(path)
