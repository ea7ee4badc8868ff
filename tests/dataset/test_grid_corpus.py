"""A corpus with a grid, from the texts to what is read of it, by a small run."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Features, load_dataset

from corpus.checks.dataset_check import check_folder
from corpus.checks.file_gates import check_parquet
from corpus.checks.inspection import Inspection
from corpus.checks.row_gates import check_rows
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.dataset.published_layout import export, import_corpus
from corpus.estimate.probe import probe_of
from corpus.opened import Corpus
from corpus.plan.blueprint import Blueprint
from corpus.report.page import write_report
from corpus.run.run_folder import RunFolder
from corpus.voices.affect_to_prosody import style_loudness
from schemas.tables import ROWS, features, rows_with
from tests.support.datasets import accept_files, rewrite, shard
from tests.support.fake_servers import FakeTextServer
from tests.support.line import (
    GRIDDED,
    GRIDDED_ANCHORS,
    files_of,
    rows,
    speak_and_pack,
    write_recipe,
    write_run,
)

GROWN = (*GRIDDED[:2], "grid.queries=3", "grid.points=4")


@pytest.fixture(scope="module")
def grid_rows(gridded):
    return {row["id"]: row for row in Corpus.open(gridded).pairs("grid")}


def test_a_row_of_the_grid_says_where_its_response_lies(gridded, grid_rows):
    plan = DatasetFolder(gridded).blueprint.plan
    assert list(grid_rows) == [f"grid-{q:05d}-{n:02d}" for q in range(2) for n in range(3)]
    for slot_id, row in grid_rows.items():
        blend = row["blend"]
        assert sum(part["weight"] for part in blend) == pytest.approx(1.0)
        assert row["response_emotion"] == blend[0]["anchor"]
        assert row["query_emotion"] == "neutral"
        assert row["query_id"] == slot_id.rpartition("-")[0]
        for name in ("valence", "arousal"):
            mean = sum(p["weight"] * getattr(plan.anchors[p["anchor"]], name) for p in blend)
            assert row[name] == pytest.approx(mean, abs=0.003)
    others = [row for row in Corpus.open(gridded) if row["subset"] != "grid"]
    assert {row["blend"] for row in others} == {None}


def test_a_query_of_the_grid_is_spoken_once_and_its_responses_at_their_points(gridded):
    blueprint = DatasetFolder(gridded).blueprint
    sound = {(row["id"], row["role"]): row for row in rows(RunFolder(gridded).sound)}
    pairs = [pair for pair in blueprint.plan.pairs() if pair.place]
    assert len([1 for name, role in sound if name.startswith("grid") and role == "query"]) == 2
    for pair in pairs:
        delivered = blueprint.response_manner(pair).point
        row = sound[pair.id, "response"]
        assert (row["valence"], row["arousal"]) == pytest.approx(
            (delivered.valence, delivered.arousal)
        )


def test_check_passes_and_tells_a_point_that_was_changed(gridded, tmp_path):
    assert [gate.name for gate in check_folder(gridded) if not gate.passed] == []
    folder = shutil.copytree(gridded / "corpus", tmp_path / "dataset")
    path = shard(folder, "grid")

    def change(rows):
        rows[0]["blend"][0]["weight"] -= 0.1
        rows[1]["arousal"] += 0.1

    changed = pq.read_table(path, columns=["id"]).to_pylist()
    rewrite(path, change, schema=rows_with(("blend",)))
    accept_files(folder)
    look = Inspection(DatasetFolder(folder))
    check_parquet(look)
    check_rows(look)
    failed = {gate.name: gate.examples for gate in look.gates.all if not gate.passed}
    assert failed == {"added": [changed[0]["id"]], "coordinates": [changed[1]["id"]]}


def test_a_grid_asks_nothing_of_the_subsets_that_were_there(gridded):
    asked = json.loads((gridded.parent / "asked.json").read_bytes())
    # A query and its three answers, twice; every text was good.
    assert asked["with the grid"] - asked["without"] == 2 * (1 + 3)


def test_all_at_once_gives_the_same_bytes_as_the_grid_afterwards(gridded, tmp_path):
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url, GRIDDED_ANCHORS)
        run = write_run(tmp_path / "run", recipe, *GRIDDED)
    speak_and_pack(run)
    assert files_of(run) == files_of(RunFolder(gridded))


def test_a_grid_that_grows_asks_nothing_of_the_points_it_has(gridded, grid_rows, tmp_path):
    run = RunFolder(shutil.copytree(gridded, tmp_path / "run"))
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url, GRIDDED_ANCHORS)
        write_run(run.root, recipe, *GROWN)
        # One query, the four answers to it, and one more to each of the others.
        assert server.count == 1 + 4 + 2
    speak_and_pack(run)
    grown = {row["id"]: row for row in Corpus.open(run.root).pairs("grid")}
    assert len(grown) == 12
    assert {name: grown[name] for name in grid_rows} == grid_rows


def test_a_corpus_without_a_grid_has_the_columns_it_had(whole):
    for path in (whole / "corpus").rglob("*.parquet"):
        assert "blend" not in pq.read_schema(path).names
    assert "grid" not in (whole / "corpus" / "README.md").read_text()
    assert "grid" not in json.loads((whole / "corpus" / "manifest.json").read_bytes())
    assert rows_with() == ROWS


def test_datasets_reads_every_config_of_a_corpus_with_a_grid(gridded):
    read = Features.from_dict(features(("blend",)))
    assert Features.from_arrow_schema(pq.read_schema(shard(gridded / "corpus", "grid"))) == read
    for config in ("grid", "default", "text"):
        stream = load_dataset(str(gridded / "corpus"), config, split="train", streaming=True)
        found = list(stream.select_columns(["subset", "blend"]))
        blends = [row["blend"] for row in found if row["subset"] == "grid"]
        assert blends
        assert all(blends)


def test_the_card_and_the_report_tell_of_the_grid(gridded, tmp_path):
    card = (gridded / "corpus" / "README.md").read_text()
    assert "- **grid**: a query spoken neutrally" in card
    assert "All subsets have the splits" in card
    assert "`blend` has the weights" in card
    page = write_report(DatasetFolder(gridded), tmp_path)
    facts = json.loads((tmp_path / "report.json").read_bytes())
    assert sum(facts["pairs"]["grid"].values()) == 6
    assert len(facts["points"]) == 6
    assert set(facts["sound"]["by_anchor"]["response"]) <= {*GRIDDED_ANCHORS}
    assert "grid-0000" in page.read_text()


def test_a_corpus_with_a_grid_is_compared_with_one_without(gridded, whole):
    without, found = Corpus.open(whole), Corpus.open(gridded)
    compared = without.compare(found)
    assert [name for name in compared.added if name.startswith("grid")] == [
        f"grid-{q:05d}-{n:02d}" for q in range(2) for n in range(3)
    ]
    assert "blend" not in compared.changed


def test_the_published_layout_takes_the_grid_out_and_leaves_it_there(gridded, tmp_path):
    assert export(gridded, tmp_path / "theirs") == len(Corpus.open(gridded))
    lines = [
        json.loads(line)
        for path in (tmp_path / "theirs" / "Grid" / "metadata").glob("text_pairs_*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert {line["index"] for line in lines} == {
        f"Grid_{q:05d}_{n:02d}" for q in range(2) for n in range(3)
    }
    assert all({"valence", "arousal"} <= set(line) for line in lines)
    wavs = list((tmp_path / "theirs" / "Grid").rglob("*.wav"))
    assert len(wavs) == 2 + 6
    blueprint = Blueprint.named("demo", ("grid.queries=1", "grid.points=1"))
    ours = import_corpus(tmp_path / "theirs", tmp_path / "ours", blueprint)
    assert ours.pairs == len(Corpus.open(gridded)) - 6


def test_a_probe_has_some_of_the_grid():
    blueprint = Blueprint.named("demo", ("grid.queries=50", "grid.points=4"))
    probe = probe_of(blueprint, 30).recipe
    assert 1 <= probe.grid.queries < 10
    assert probe.grid.points == 4


def test_loudness_has_no_step_where_triangles_meet(gridded):
    """Nor has the point of delivery, which is what the builtin voice takes."""
    room = Blueprint.named("demo", ("grid.queries=40", "grid.points=50")).plan.rooms["grid"]
    plan = Blueprint.named("demo", ("grid.queries=40", "grid.points=50")).plan
    pairs = [pair for pair in plan.pairs() if pair.place]
    where = np.array([(pair.place.valence, pair.place.arousal) for pair in pairs])
    points = [room.response_manner(pair).point for pair in pairs]
    spoken = np.array([(point.valence, point.arousal) for point in points])
    loudness = np.array([style_loudness(-23.0, p.valence, p.arousal) for p in points])
    near = np.linalg.norm(where[:, None] - where[None], axis=2)
    first, second = np.nonzero((near > 0) & (near < 0.02))
    assert len(first) > 100
    assert np.linalg.norm(spoken[first] - spoken[second], axis=1).max() < 0.1
    assert np.abs(loudness[first] - loudness[second]).max() < 1.0
