"""The layout in which URO-Bench reads a system's responses."""

import json

import pytest
import soundfile

from corpus.errors import InvalidInput
from corpus.evaluation.uro_bench import export
from tests.evaluation.test_systems import responses_folder
from tests.support.line import typed


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_texts_are_numbered_lines_and_sounds_wav_files_of_these_numbers(tmp_path):
    responses_folder(tmp_path / "answers", ("affect", "none"))
    done = typed("export", tmp_path / "answers", tmp_path / "out", "--format", "uro-bench")
    assert done.returncode == 0, done.stderr
    said = lines(tmp_path / "out" / "pred_text.jsonl")
    assert said[2:4] == [{"0002": "Take bus 1."}, {"0003": "Take bus 1."}]
    assert len(said) == 6  # those of one condition
    assert [next(iter(line)) for line in lines(tmp_path / "out" / "gt_text.jsonl")] == [
        f"{number:04}" for number in range(6)
    ]
    sounds = sorted(path.name for path in (tmp_path / "out" / "audio").iterdir())
    assert sounds == ["0002.wav", "0003.wav", "0004.wav", "0005.wav"]  # two have no sound
    assert soundfile.info(tmp_path / "out" / "audio" / "0002.wav").subtype == "PCM_16"
    ids = json.loads((tmp_path / "out" / "ids.json").read_text())
    assert ids["neutral-00001-sad/affect"] == "0002"


def test_a_corpus_has_its_queries_as_questions(whole, tmp_path):
    assert export(whole, tmp_path / "out") == 42
    questions = lines(tmp_path / "out" / "question_text.jsonl")
    assert all(text for line in questions for text in line.values())


def test_a_folder_that_is_taken_is_left_as_it_is(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="not empty"):
        export(responses_folder(tmp_path / "answers"), tmp_path / "out")
