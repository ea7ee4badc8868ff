"""Datasets that were damaged in some hundred ways: read well, or refused in words."""

import contextlib
import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.checks.file_gates import check_card, check_files, check_parquet
from corpus.checks.inspection import Inspection, Memory
from corpus.checks.row_gates import check_light_config, check_rows, check_texts
from corpus.dataset.comparison import compared
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.dataset.manifest import NAME
from corpus.dataset.published_layout import export, import_corpus
from corpus.errors import InvalidInput, SympatheiaError
from corpus.opened import Corpus
from corpus.plan.blueprint import Blueprint
from corpus.report.report_data import gather, samples
from tests.dataset.test_published_layout import BUILTIN
from tests.support.datasets import accept_files, shard
from tests.support.mutations import VALUES, in_words, mutate_value, mutated_bytes

SEEDS = range(48)
CELLS = [None, "", "a\0b", "\ud800", "../../x", "x" * 5000, -1, 0, 10**18, 1e308]
CELLS += [float("nan"), float("inf"), b"", b"fLaC", {"bytes": b"RIFF", "path": None}, True]


@pytest.fixture(scope="module")
def source(whole, tmp_path_factory):
    """The eval split alone, as the published pipeline would have it."""
    folder = tmp_path_factory.mktemp("mutated") / "source"
    export(whole, folder)
    for path in folder.rglob("text_pairs_train.jsonl"):
        path.unlink()
    return folder


@pytest.fixture(scope="module")
def dataset(source):
    import_corpus(source, source.with_name("dataset"), Blueprint.named("sympatheia-18k", BUILTIN))
    return source.with_name("dataset")


def look_at(folder, memory):
    """All that reads a dataset and needs neither a model nor the sound of every clip."""
    dataset = DatasetFolder(folder)
    look = Inspection(dataset, memory=Memory(memory))
    for group in (check_files, check_card, check_parquet, check_rows, check_light_config):
        group(look)
    check_texts(look)
    assert json.dumps([gate.examples for gate in look.gates.all])
    for work in (
        lambda: list(Corpus.open(folder).pairs(audio=True)),
        lambda: json.dumps(gather(DatasetFolder(folder)), allow_nan=False),
        lambda: list(samples(DatasetFolder(folder))),
        lambda: compared(DatasetFolder(folder), DatasetFolder(folder), audio=False),
        lambda: export(folder, memory / "exported"),
    ):
        try:
            work()
        except SympatheiaError as error:
            assert in_words(error), str(error)
            assert str(folder) in str(error) or "cannot be decoded" in str(error), str(error)
        finally:
            shutil.rmtree(memory / "exported", ignore_errors=True)
    return all(gate.passed for gate in look.gates.all)


def test_a_damaged_manifest_is_read_well_or_refused_in_words(dataset, tmp_path):
    path = dataset / NAME
    content = path.read_bytes()
    damaged = [mutated_bytes(content, random.Random(seed)) for seed in SEEDS]
    for seed in SEEDS:
        chance, data = random.Random(seed), json.loads(content)
        for _ in range(chance.choice((1, 1, 2, 4))):
            mutate_value(data, chance, [*VALUES, None])
        damaged.append(json.dumps(data).encode())
    read = 0
    try:
        for content_now in damaged:
            path.write_bytes(content_now)
            try:
                read += len(DatasetFolder(dataset).slots) > 0
            except InvalidInput as error:
                assert in_words(error), str(error)
                assert NAME in str(error)
                continue
            if read % 6 == 0:
                look_at(dataset, tmp_path)
    finally:
        path.write_bytes(content)
    assert 5 < read < len(damaged) - 20


def with_other_columns(table, chance):
    """A table of which a column is gone, twice, elsewhere, of another type or of other values."""
    at = chance.randrange(table.num_columns)
    field, column = table.schema.field(at), table.column(at)
    match chance.randrange(7):
        case 0:
            return table.remove_column(at)
        case 1:
            return table.append_column(field, column)
        case 2:
            return table.set_column(at, chance.choice(["", "id", "x\n"]), column)
        case 3:
            other = chance.choice([pa.large_string(), pa.int64(), pa.null(), pa.list_(pa.int8())])
            return table.set_column(at, field.name, pa.nulls(table.num_rows, other))
        case 4:
            return table.take(pa.array(np.array(chance.sample(range(table.num_rows), 2))))
        case 5:
            return table.set_column(at, field, pa.nulls(table.num_rows, field.type))
    return table.set_column(at, field, with_other_cells(field.type, column.to_pylist(), chance))


def with_other_cells(kind, values, chance):
    for cell in chance.sample(CELLS, len(CELLS)):
        try:
            return pa.array([cell, *values[1:]], kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
    return pa.array(values, kind)


def test_damaged_parquet_is_read_well_or_refused_in_words(dataset, tmp_path):
    path, manifest = shard(dataset, "neutral", "eval"), dataset / NAME
    whole, said = path.read_bytes(), manifest.read_bytes()
    table, passed = pq.read_table(path), 0
    try:
        for seed in SEEDS:
            chance = random.Random(seed)
            pq.write_table(with_other_columns(table, chance), path, write_page_index=True)
            if chance.random() < 0.7:
                accept_files(dataset)
            passed += look_at(dataset, tmp_path)
            manifest.write_bytes(said)
        for seed in SEEDS[:16]:
            path.write_bytes(mutated_bytes(whole, random.Random(seed)))
            accept_digests(dataset, path)
            passed += look_at(dataset, tmp_path)
            manifest.write_bytes(said)
    finally:
        path.write_bytes(whole)
        manifest.write_bytes(said)
    assert passed < 20


def accept_digests(folder, path):
    """As if the bytes were those that were sent, where they may be no Parquet any more."""
    with contextlib.suppress(pa.ArrowException, OSError):
        accept_files(folder)


def test_damaged_metadata_is_imported_well_or_refused_in_words(source, tmp_path):
    blueprint = Blueprint.named("sympatheia-18k", BUILTIN)
    for path in sorted(source.rglob("text_pairs_*.jsonl")):
        content = path.read_bytes()
        for seed in range(24):
            chance = random.Random(seed)
            lines = [json.loads(line) for line in content.splitlines()]
            mutate_value(chance.choice(lines), chance, [*VALUES, None])
            body = "\n".join(map(json.dumps, lines)).encode()
            path.write_bytes(body if seed % 2 else mutated_bytes(content, chance))
            try:
                import_corpus(source, tmp_path / "ours", blueprint)
                if seed % 6 == 0:
                    look_at(tmp_path / "ours", tmp_path)
            except SympatheiaError as error:
                assert in_words(error), str(error)
            finally:
                shutil.rmtree(tmp_path / "ours", ignore_errors=True)
        path.write_bytes(content)
