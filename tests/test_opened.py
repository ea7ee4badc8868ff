"""A finished corpus as an object, as a notebook has it."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from corpus.errors import InvalidInput, SympatheiaError
from corpus.opened import Corpus
from corpus.run.run_folder import RunFolder
from corpus.sound.sound_files import decode
from schemas.tables import TEXT_ROWS
from tests.support.datasets import accept_files, rewrite, shard


@pytest.fixture(scope="module")
def corpus(whole):
    return Corpus.open(whole)


@pytest.fixture(scope="module")
def bare(whole):
    return Corpus.open(str(whole / "corpus"))


def test_it_says_what_it_is_and_how_large(whole, corpus):
    assert (corpus.name, len(corpus)) == ("small", 42)
    assert repr(corpus) == f"<Corpus small, 42 pairs, in {whole / 'corpus'}>"


def test_what_is_no_corpus_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InvalidInput, match="is not a dataset folder of this project"):
            Corpus.open(folder)


def test_pairs_come_with_audio_only_where_it_is_asked_for(corpus):
    assert sum(1 for _ in corpus) == 42
    (texts, clips) = (list(corpus.pairs("neutral", "eval", audio=audio)) for audio in (False, True))
    assert texts == [{name: row[name] for name in TEXT_ROWS.names} for row in clips]
    samples, rate = decode(clips[0]["response_audio"]["bytes"])
    assert len(samples) / rate == pytest.approx(clips[0]["response_seconds"], abs=0.01)


def test_one_pair_is_found_by_its_id(corpus):
    wanted = list(corpus)[20]
    found = corpus.pair(wanted["id"])
    assert wanted.items() <= found.items()
    assert found["query_audio"]["bytes"]
    with pytest.raises(InvalidInput, match="has no pair 'neutral-99999-sad'. Its first is"):
        corpus.pair("neutral-99999-sad")


def test_a_planned_pair_that_is_not_there_is_said_to_be_missing(whole, tmp_path):
    folder = shutil.copytree(whole / "corpus", tmp_path / "dataset")
    path, gone = shard(folder), []
    rewrite(path, lambda rows: gone.append(rows.pop(0)["id"]))
    accept_files(folder)
    with pytest.raises(SympatheiaError, match="is not in .*, though planned; 'sympatheia check'"):
        Corpus.open(folder).pair(gone[0])


def test_refusals_are_those_of_the_run(whole, corpus, bare):
    assert list(corpus.refusals()) == pq.read_table(RunFolder(whole).rejects).to_pylist()
    with pytest.raises(InvalidInput, match="A dataset folder has no table of refusals: open the"):
        bare.refusals()


@pytest.mark.parametrize(
    "table", ["refusals", "queries", "responses", "similarities", "clips", "sound"]
)
def test_each_table_of_the_run_is_one_for_pandas(whole, corpus, bare, table):
    run = RunFolder(whole)
    rows = pq.read_table(run.rejects if table == "refusals" else getattr(run, table))
    frame = corpus.to_pandas(table)
    assert list(frame.columns) == rows.column_names
    assert len(frame) == rows.num_rows > 0
    with pytest.raises(InvalidInput, match=f"no table of {table}"):
        bare.to_pandas(table)


def test_pairs_are_a_table_for_pandas_without_their_audio(corpus, bare):
    for opened in (corpus, bare):
        frame = opened.to_pandas()
        assert list(frame.columns) == TEXT_ROWS.names
        assert frame["id"].tolist() == [row["id"] for row in corpus]
        assert frame["valence"].tolist() == [row["valence"] for row in corpus]
    with pytest.raises(InvalidInput, match="There is no table 'rows'; pairs, refusals, queries"):
        corpus.to_pandas("rows")


def test_figures_are_those_of_the_report(corpus, bare, tmp_path):
    page = corpus.write_report(tmp_path)
    assert json.loads((page.parent / "report.json").read_bytes()) == corpus.figures()
    assert bare.figures()["refusals"] is None
    assert bare.figures()["hours"] == corpus.figures()["hours"]


def test_gates_leave_the_corpus_to_be_read_as_it_was(whole, tmp_path):
    folder = shutil.copytree(whole / "corpus", tmp_path / "dataset")
    (path,) = (folder / "data" / "neutral").glob("train-*.parquet")
    path.write_bytes(path.read_bytes()[:-10])
    corpus = Corpus.open(folder)
    failed = {outcome.name for outcome in corpus.gates() if not outcome.passed}
    assert {"checksum", "unreadable", "id_missing"} <= failed
    with pytest.raises(SympatheiaError, match=f"{path.name} is damaged"):
        list(corpus.pairs())


def test_it_is_compared_with_another(corpus, bare):
    assert corpus.compare(bare, audio=True).unchanged == 42
