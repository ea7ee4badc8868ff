"""What a check remembers of the ones before it, and what it does not take their word for."""

import json
import logging
import math
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.checks.clip_gates import check_clips
from corpus.checks.file_gates import check_files, check_parquet
from corpus.checks.inspection import CLIPS, STAGES, Inspection, Memory
from corpus.checks.measured_clips import measured_clips
from corpus.checks.row_gates import check_queries_apart, check_texts
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.run.progress import Progress
from corpus.sound.clip_audio import encode_flac
from corpus.speech.clip_requests import QUERY, RESPONSE
from schemas.slots import SUBSETS
from schemas.tables import ROWS


def looked_at(folder, memory, progress=None):
    """A check of files, pages and clips; gives what failed."""
    look = Inspection(
        DatasetFolder(folder), memory=Memory(memory), progress=progress or Progress(None)
    )
    check_clips(look)
    check_files(look)
    check_parquet(look)
    return {outcome.name: outcome.found for outcome in look.gates.all if not outcome.passed}


def memories(folder, word):
    """The files of a memory that hold a word."""
    return [path for path in folder.rglob("*.json") if word in path.read_text()]


@pytest.fixture(scope="module")
def checked(whole, tmp_path_factory):
    """The memory of a check of the whole dataset. Copy it to change it."""
    folder = tmp_path_factory.mktemp("checked")
    assert looked_at(whole, folder) == {}
    return folder


@pytest.fixture
def memory(checked, tmp_path):
    return shutil.copytree(checked, tmp_path / "memory")


def test_an_unchanged_shard_is_not_measured_again(whole, memory):
    shards = memories(memory, "said_seconds")
    assert len(shards) == 4
    # Whoever measured anew would not come to this.
    found = json.loads(shards[0].read_bytes())
    found[0]["said_seconds"] = 99.0
    shards[0].write_text(json.dumps(found))
    assert looked_at(whole, memory) == {"clip_seconds": 1}


def test_a_changed_shard_is_measured_though_the_others_are_remembered(whole, memory, tmp_path):
    dataset = shutil.copytree(whole / "corpus", tmp_path / "dataset")
    (path,) = (dataset / "data" / "neutral").glob("eval-*.parquet")
    rows = pq.read_table(path).to_pylist()
    rows[0]["response_audio"]["bytes"] = encode_flac(np.zeros(24_000, np.float32))
    pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), path, write_page_index=True)
    found = looked_at(dataset, memory)
    assert found["checksum"] == found["clip"] == 1
    assert len(memories(memory, "said_seconds")) == 5


def test_a_check_that_is_stopped_goes_on_behind_the_last_whole_shard(whole, tmp_path):
    look = Inspection(DatasetFolder(whole), memory=Memory(tmp_path))
    first = next(path for path in look.dataset.parquet_files() if path.parent.name in SUBSETS)
    of_first = 2 * pq.read_metadata(first).num_rows
    clips = measured_clips(look, (QUERY, RESPONSE))
    for _ in range(of_first + 1):
        next(clips)
    clips.close()
    (kept,) = memories(tmp_path, "said_seconds")
    assert len(json.loads(kept.read_bytes())) == of_first


@pytest.mark.parametrize("content", ["", "[{", "\0\0\0"])
def test_a_memory_that_is_damaged_is_none(tmp_path, content):
    Memory(tmp_path).keep("clips 0", [1])
    (path,) = tmp_path.rglob("*.json")
    path.write_text(content)
    assert Memory(tmp_path).recall("clips 0") is None


def test_a_number_that_is_none_is_remembered_as_it_was_found(tmp_path):
    Memory(tmp_path).keep("clips 0", [{"loudness": -math.inf, "said_seconds": math.nan}])
    (clip,) = Memory(tmp_path).recall("clips 0")
    assert clip["loudness"] == -math.inf
    assert math.isnan(clip["said_seconds"])


def test_other_code_remembers_nothing_of_it(tmp_path, monkeypatch):
    Memory(tmp_path).keep("clips 0", [1])
    assert Memory(tmp_path).recall("clips 0") == [1]
    monkeypatch.setattr("corpus.checks.inspection.code_digest", lambda: "another")
    assert Memory(tmp_path).recall("clips 0") is None


def test_where_nothing_can_be_kept_a_check_goes_on_and_says_so(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        Memory(tmp_path / "file").keep("clips 0", [1])
    assert "is not remembered" in caplog.text


def test_queries_are_embedded_again_only_where_one_has_changed(whole, tmp_path):
    look = Inspection(DatasetFolder(whole), memory=Memory(tmp_path))
    queries = check_texts(look)
    check_queries_apart(look, queries)
    measured = {outcome.name: outcome.found for outcome in look.gates.all}
    (path,) = memories(tmp_path, "query_similarity")
    path.write_text(path.read_text().replace(str(measured["query_similarity"]), "0.99"))
    check_queries_apart(look, queries)
    assert {outcome.name: outcome.found for outcome in look.gates.all}["query_similarity"] == 0.99
    queries[next(iter(queries))] += " Please."
    check_queries_apart(look, queries)
    again = {outcome.name: outcome.found for outcome in look.gates.all}["query_similarity"]
    assert again == pytest.approx(measured["query_similarity"], abs=0.1)


def test_progress_is_told_of_every_clip_remembered_or_not(whole, memory):
    progress = Progress(None)
    looked_at(whole, memory, progress)
    stages = progress.snapshot()["stages"]
    assert tuple(stages) == STAGES
    assert stages[CLIPS]["done"] == stages[CLIPS]["total"] == 2 * 42
