"""Clips that were damaged on the disk are made again by the next build, and reach no corpus."""

import shutil

import pytest

from corpus.plan.blueprint import Blueprint
from corpus.store.opening import open_store
from flows.work import at_work
from tests.support.line import files_of, rows

DAMAGE = {
    "emptied": lambda data: b"",
    "torn": lambda data: data[: len(data) // 2],
    "zeroed": lambda data: bytes(len(data)),
    "zeroed in its midst": lambda data: data[:2000] + bytes(1000) + data[3000:],
}


def clip_of(run, number):
    """The file of a clip of the run's table."""
    digest = rows(run.clips)[number]["digest"]
    return run.store / "clips" / digest[:2] / f"{digest}.flac"


def spoken_and_packed(run):
    with at_work(run, run.blueprint(), "shards") as work:
        work.speak()
        work.pack()


@pytest.mark.parametrize("noted", [True, False], ids=["", "of an earlier release"])
def test_damaged_clips_are_made_again_by_the_same_build(small, run, noted):
    if not noted:
        shutil.rmtree(run.store / "clip_files")
    run.corpus_stamp.unlink()
    for number, change in enumerate(DAMAGE.values()):
        path = clip_of(run, 3 * number)
        path.write_bytes(change(path.read_bytes()))
    spoken_and_packed(run)
    assert files_of(run) == files_of(small)
    for number in range(len(DAMAGE)):
        path = clip_of(run, 3 * number)
        assert path.read_bytes() == (small.root / path.relative_to(run.root)).read_bytes()
        assert f"{path.name} is " in run.log.read_text()
    with open_store(run.store) as store:
        assert all(store.clips.vouched_for(row["digest"]) for row in rows(run.clips))


def test_an_empty_clip_that_was_packed_leaves_the_corpus_with_the_next_build(small, run):
    clip_of(run, 2).write_bytes(b"")
    with at_work(run, run.blueprint(), "shards") as work:
        work.speak()
        assert not run.corpus_stamp.exists()  # what is packed may have the empty one
        work.pack()
    assert files_of(run) == files_of(small)


def test_a_corpus_that_is_up_to_date_is_left_alone(run):
    before = {path: path.stat().st_mtime_ns for path in run.corpus.rglob("*")}
    spoken_and_packed(run)
    assert {path: path.stat().st_mtime_ns for path in run.corpus.rglob("*")} == before


def test_a_damaged_clip_that_is_listened_to_is_made_again(small, run):
    path = clip_of(run, 1)
    path.write_bytes(bytes(path.stat().st_size))
    recipe = run.read_recipe()
    speech = recipe.speech.model_copy(update={"prosody": True})
    listening = Blueprint.of(recipe.model_copy(update={"speech": speech}))
    with at_work(run, listening, "speech") as work:
        work.speak()
    assert path.read_bytes() == (small.root / path.relative_to(run.root)).read_bytes()
    assert len(rows(run.sound)) == len(rows(run.clips))
