"""The power is cut: what was synced is enough, and what was not costs itself alone."""

import random
from hashlib import sha256

import pytest

from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.store.line_log import read_log
from corpus.store.opening import open_store
from tests.store.power_cut import PoweredRun, build
from tests.support.fake_servers import FakeTextServer
from tests.support.line import files_of, rows, write_recipe
from tests.support.replies import sometimes

MOMENTS = 20
SMALL = ("emotional.pairs_per_anchor=2", "neutral.queries=1", "llm.concurrency=4")
SMALL += ("speech.prosody=false",)


@pytest.fixture
def server():
    with FakeTextServer(behave=sometimes(["markdown", "short"], 0.3), latency=0.02) as running:
        yield running


@pytest.fixture
def recipe(tmp_path, server):
    return write_recipe(tmp_path / "r.toml", server.base_url, anchors=("sad", "angry"))


def made_by(run: RunFolder) -> dict[str, str]:
    """The digests of all files of a run that must not differ."""
    tables = (run.queries, run.responses, run.clips, run.similarities, run.decisions)
    digests = {path.name: sha256(path.read_bytes()).hexdigest() for path in tables}
    return digests | files_of(run)


def left_in(run: RunFolder) -> tuple[int, int]:
    """How many answers and clips are whole; nothing that rests on others is there without them."""
    with open_store(run.store) as store:
        answers = store.completions
        decided = {entry["digest"] for entry in read_log(run.decisions)}
        assert all(answers.get(digest) for digest in decided), "a decision without its answer"
        for table in (run.queries, run.responses):
            if table.exists():
                assert all(answers.get(row["digest"]) for row in rows(table)), table
        if run.clips.exists():
            assert all(store.clips.read(row["digest"]) for row in rows(run.clips))
        whole = [d for d in store.clip_measures.own() if d in store.clips and store.clips.read(d)]
        return len(answers), len(whole)


def test_a_run_heals_after_any_power_cut_and_asks_for_what_was_lost_alone(tmp_path, recipe, server):
    chance = random.Random(20)
    cuts = []
    with PoweredRun(tmp_path / "run", tmp_path / "notes", recipe, *SMALL) as run:
        while not run.ended:
            run.wait_for_syncs(run.syncs + chance.randrange(1, 4))
            cuts.append(tmp_path / f"cut{len(cuts)}")
            run.cut(cuts[-1], random.Random(len(cuts)))
        run.cut(tmp_path / "end")
    whole = made_by(RunFolder(tmp_path / "run"))
    needed, needed_clips = left_in(RunFolder(tmp_path / "run"))
    assert left_in(RunFolder(tmp_path / "end")) == (needed, needed_clips)

    blueprint = Blueprint.named(str(recipe), SMALL)
    assert len(cuts) > MOMENTS
    for folder in [*chance.sample(cuts[:-1], MOMENTS), tmp_path / "end"]:
        answers, clips = left_in(RunFolder(folder))
        server.count = 0
        healed, spoken = build(folder, blueprint)
        assert made_by(healed) == whole, folder
        assert (server.count, spoken) == (needed - answers, needed_clips - clips), folder


def test_two_builds_over_one_shared_store_both_end_whole_though_one_is_killed_and_cut(
    tmp_path, recipe
):
    shared = (*SMALL, f'storage.url="{tmp_path / "shared"}"')
    with (
        PoweredRun(tmp_path / "one", tmp_path / "notes one", recipe, *shared) as one,
        PoweredRun(tmp_path / "two", tmp_path / "notes two", recipe, *shared) as two,
    ):
        one.wait_for_syncs(40)
        one.kill()
        segments = sorted((one.folder / "store" / "completions").glob("*.jsonl"))
        segments[-1].write_bytes(segments[-1].read_bytes()[:-50])
        two.wait_for_syncs(10**9)
    alone, _ = build(tmp_path / "alone", Blueprint.named(str(recipe), SMALL))
    again, _ = build(one.folder, Blueprint.named(str(recipe), shared))
    assert made_by(again) == made_by(RunFolder(two.folder)) == made_by(alone)
