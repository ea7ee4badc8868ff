"""Reading a finished dataset: in order, a little at a time, and no further than asked."""

import shutil
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.dataset.comparison import compared
from corpus.dataset.dataset_folder import CLIPS_AT_ONCE, DatasetFolder, shard_rows, split_of
from corpus.errors import SympatheiaError
from schemas.slots import EMOTIONAL, NEUTRAL, SPLITS
from schemas.tables import ROWS, TEXT_ROWS
from tests.support.datasets import accept_files, rewrite, shard


@pytest.fixture
def copy(whole, tmp_path):
    """A copy to change: the dataset folder alone, as one downloaded."""
    return shutil.copytree(whole / "corpus", tmp_path / "dataset")


def test_a_run_folder_and_its_dataset_folder_have_the_same_pairs(whole):
    of_run, of_dataset = DatasetFolder(whole), DatasetFolder(whole / "corpus")
    assert of_run.root == of_dataset.root
    assert list(of_run.pairs()) == list(of_dataset.pairs())
    assert of_run.run.rejects.is_file() and not of_dataset.run.rejects.is_file()


def test_pairs_are_all_planned_in_slot_order_within_a_subset_and_split(whole):
    dataset = DatasetFolder(whole)
    place = {slot_id: n for n, slot_id in enumerate(dataset.slots)}
    seen = []
    for subset in (EMOTIONAL, NEUTRAL):
        for split in SPLITS:
            rows = list(dataset.pairs(subset, split))
            assert {(row["subset"], row["split"]) for row in rows} == {(subset, split)}
            assert all(place[a["id"]] < place[b["id"]] for a, b in pairwise(rows))
            seen += [row["id"] for row in rows]
    assert sorted(seen) == sorted(dataset.slots)
    assert sorted(row["id"] for row in dataset.pairs()) == sorted(seen)


def test_columns_are_those_asked_for(whole):
    dataset = DatasetFolder(whole)
    assert list(next(dataset.pairs())) == TEXT_ROWS.names
    assert list(next(dataset.pairs(columns=("id", "topic")))) == ["id", "topic"]
    row = next(dataset.pairs(columns=ROWS.names))
    assert row["query_audio"]["bytes"][:4] == b"fLaC"


def test_an_id_that_comes_twice_or_is_not_planned_is_one_pair_or_none(copy):
    def change(rows):
        rows.append(rows[0] | {"topic": "another"})
        rows.append(rows[0] | {"id": "emotional-glad-00000"})

    before = list(DatasetFolder(copy).pairs())
    rewrite(shard(copy, EMOTIONAL, "train"), change)
    accept_files(copy)
    assert list(DatasetFolder(copy).pairs()) == before


def test_rows_come_before_the_files_behind_them_are_read(copy):
    path = shard(copy, NEUTRAL, "train")
    data = bytearray(path.read_bytes())
    data[4:-20_000] = bytes(len(data) - 20_004)  # the pages; what the file says of itself stands
    path.write_bytes(data)
    pairs = DatasetFolder(copy).pairs(columns=ROWS.names)
    read = 0
    with pytest.raises(SympatheiaError, match=f"{path.name} is damaged. Build the corpus again"):
        for row in pairs:
            read += row["subset"] == EMOTIONAL
    assert read == 30


def test_a_shard_is_never_in_memory_as_a_whole(tmp_path):
    path, rng = tmp_path / "train-00000-of-00001.parquet", np.random.default_rng(0)
    rows_in_group, clip_bytes = 4 * CLIPS_AT_ONCE, 100_000
    row = dict.fromkeys(ROWS.names)
    clip = {"bytes": b"", "path": ""}
    with pq.ParquetWriter(path, ROWS, compression="NONE", use_dictionary=False) as writer:
        for _ in range(12):
            clips = [clip | {"bytes": rng.bytes(clip_bytes)} for _ in range(rows_in_group)]
            group = [row | {"query_audio": one} for one in clips]
            writer.write_table(pa.Table.from_pylist(group, schema=ROWS))
    del clips, group
    size, before, most, count = path.stat().st_size, pa.total_allocated_bytes(), 0, 0
    for _ in shard_rows(path):
        count += 1
        most = max(most, pa.total_allocated_bytes() - before)
    assert count == 12 * rows_in_group
    assert most < size / 6


def test_the_rows_of_a_few_ids_are_read_with_their_clips(whole):
    dataset = DatasetFolder(whole)
    wanted = {list(dataset.slots)[3], list(dataset.slots)[-1]}
    rows = {row["id"]: row for row in dataset.pairs_with_audio(wanted)}
    assert set(rows) == wanted
    assert all(row["response_audio"]["bytes"] for row in rows.values())


def test_the_split_of_a_shard_is_in_its_name(whole):
    paths = DatasetFolder(whole).readable
    assert {split_of(path) for path in paths} == set(SPLITS)


# Two datasets


def test_a_dataset_differs_in_nothing_from_its_copy(whole, copy):
    found = compared(DatasetFolder(whole), DatasetFolder(copy), audio=True)
    assert (found.added, found.gone, found.changed) == ((), (), {})
    assert found.unchanged == 42


def test_what_was_added_is_gone_or_was_changed_is_named_by_column(whole, copy):
    ids = []

    def change(rows):
        ids.extend(row["id"] for row in rows[:3])
        rows[0]["topic"] = "another"
        rows[1]["response_audio"] = rows[0]["response_audio"]
        del rows[2]

    rewrite(shard(copy, EMOTIONAL, "train"), change)
    accept_files(copy)
    one, other = DatasetFolder(whole), DatasetFolder(copy)
    texts, clips = compared(one, other, audio=False), compared(one, other, audio=True)
    assert texts.changed == {"topic": (ids[0],)}
    assert clips.changed == {"topic": (ids[0],), "response_audio": (ids[1],)}
    assert texts.gone == clips.gone == (ids[2],) and texts.added == ()
    assert (texts.unchanged, clips.unchanged) == (40, 39)
    assert compared(other, one, audio=False).added == (ids[2],)
