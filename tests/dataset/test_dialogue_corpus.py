"""A corpus of dialogues, from the texts to what is read of it, by a small run."""

import json
import re
import shutil
from collections import defaultdict

import pyarrow.parquet as pq
import pytest
from datasets import Features, load_dataset

from corpus.adapter import tiny
from corpus.adapter.training_sequences import encode_corpus
from corpus.checks.dataset_check import check_folder
from corpus.checks.file_gates import check_parquet
from corpus.checks.inspection import Inspection
from corpus.checks.row_gates import check_rows
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.dataset.published_layout import export
from corpus.estimate.remaining_work import look
from corpus.opened import Corpus
from corpus.plan.subsets.dialogue import trend
from corpus.report.page import write_report
from corpus.run.run_folder import RunFolder
from corpus.store.opening import open_store
from schemas.tables import features, rows_with
from tests.support.datasets import accept_files, rewrite, shard
from tests.support.fake_servers import FakeTextServer
from tests.support.line import (
    SPOKEN,
    SPOKEN_ANCHORS,
    files_of,
    rows,
    speak_and_pack,
    write_recipe,
    write_run,
)

COLUMNS = ("dialogue_id", "turn", "turns")


@pytest.fixture(scope="module")
def dialogues(spoken):
    """The rows of each dialogue, as they come."""
    found = defaultdict(list)
    for row in Corpus.open(spoken).pairs("dialogue"):
        found[row["dialogue_id"]].append(row)
    return found


def test_a_row_is_a_turn_and_says_which(dialogues):
    assert sorted(dialogues) == [f"dialogue-{n:05d}" for n in range(4)]
    for name, turns in dialogues.items():
        assert len(turns) in (2, 3)
        assert [row["turn"] for row in turns] == list(range(1, len(turns) + 1))
        for row in turns:
            assert row["id"] == row["query_id"] == f"{name}-{row['turn']:02d}"
            assert row["turns"] == len(turns)
            assert row["query_emotion"] == row["response_emotion"]
        assert len({(row["split"], row["topic"]) for row in turns}) == 1


def test_a_dialogue_goes_from_the_first_anchor_of_its_trajectory_to_the_last(spoken, dialogues):
    prompts = DatasetFolder(spoken).blueprint.prompts
    anchors = {one.name: (one.valence, one.arousal) for one in prompts.anchors}
    ways = {(one.path[0], one.path[-1]) for one in prompts.trajectory_file.trajectories}
    for turns in dialogues.values():
        ends = [turns[0], turns[-1]]
        assert tuple(row["query_emotion"] for row in ends) in ways
        for row in ends:
            assert (row["valence"], row["arousal"]) == anchors[row["query_emotion"]]


def test_responses_are_spoken_by_how_loud_the_turns_before_were(spoken, dialogues):
    ways = DatasetFolder(spoken).blueprint.prompts.trajectory_file.deliveries
    clips = {(row["id"], row["role"]): row for row in rows(RunFolder(spoken).clips)}
    sound = {(row["id"], row["role"]): row for row in rows(RunFolder(spoken).sound)}
    with open_store(RunFolder(spoken).store) as store:
        found = set()
        for turns in dialogues.values():
            digests = [clips[row["id"], "query"]["digest"] for row in turns]
            levels = [store.clip_measures.require(digest)["level"] for digest in digests]
            for number, row in enumerate(turns):
                change = trend(levels[: number + 1])
                way = ways.steady
                if abs(change) >= 1.5:
                    way = ways.falling if change < 0 else ways.rising
                found.add(way.style)
                assert row["response_style"] == way.style
                delivered = sound[row["id"], "response"]
                assert delivered["valence"] == pytest.approx(way.delivery.valence)
                assert delivered["arousal"] == pytest.approx(way.delivery.arousal)
    assert len(found) > 1


def test_check_passes_and_tells_a_turn_that_was_changed(spoken, tmp_path):
    assert [gate.name for gate in check_folder(spoken) if not gate.passed] == []
    folder = shutil.copytree(spoken / "corpus", tmp_path / "dataset")
    path = shard(folder, "dialogue")

    def change(rows):
        rows[0]["turn"] = 2
        rows[1]["response_style"] = "Loud, bored"

    changed = pq.read_table(path, columns=["id"]).to_pylist()
    rewrite(path, change, schema=rows_with(COLUMNS))
    accept_files(folder)
    inspection = Inspection(DatasetFolder(folder))
    check_parquet(inspection)
    check_rows(inspection)
    failed = {gate.name: gate.examples for gate in inspection.gates.all if not gate.passed}
    assert failed == {"added": [changed[0]["id"]], "style": [changed[1]["id"]]}


def test_the_same_bytes_at_another_concurrency(spoken, tmp_path):
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url, SPOKEN_ANCHORS)
        run = write_run(tmp_path / "run", recipe, *SPOKEN, "llm.concurrency=1")
    speak_and_pack(run)
    assert files_of(run) == files_of(RunFolder(spoken))


def test_what_is_left_of_it_is_nothing(spoken):
    blueprint, run = DatasetFolder(spoken).blueprint, RunFolder(spoken)
    blueprint = type(blueprint).of(run.read_recipe())
    with open_store(run.store) as store:
        assert {part.left for part in look(blueprint, run, store)} == {0}


def test_datasets_reads_every_config(spoken):
    read = Features.from_dict(features(COLUMNS))
    assert Features.from_arrow_schema(pq.read_schema(shard(spoken / "corpus", "dialogue"))) == read
    for config in ("dialogue", "default", "text"):
        stream = load_dataset(str(spoken / "corpus"), config, split="train", streaming=True)
        assert all(row["turn"] <= row["turns"] for row in stream.select_columns(list(COLUMNS)))


def test_the_card_and_the_report_tell_of_it(spoken, tmp_path):
    card = (spoken / "corpus" / "README.md").read_text()
    assert "- **dialogue**: several exchanges" in card
    assert "one question and one answer" not in card
    write_report(DatasetFolder(spoken), tmp_path)
    facts = json.loads((tmp_path / "report.json").read_bytes())
    assert sum(facts["pairs"]["dialogue"].values()) == len(Corpus.open(spoken))


def test_the_published_layout_takes_every_turn_out(spoken, tmp_path):
    assert export(spoken, tmp_path / "theirs") == len(Corpus.open(spoken))
    lines = [
        json.loads(line)
        for path in (tmp_path / "theirs" / "Dialogue" / "metadata").glob("text_pairs_*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert {line["index"] for line in lines} == {
        "Dialogue_" + row["id"].removeprefix("dialogue-").replace("-", "_")
        for row in Corpus.open(spoken)
    }
    rows_of = {
        row["id"].removeprefix("dialogue-").replace("-", "_"): row for row in Corpus.open(spoken)
    }
    for line in lines:
        row = rows_of[line["index"].removeprefix("Dialogue_")]
        assert [line[name] for name in COLUMNS] == [row[name] for name in COLUMNS]
    wavs = list((tmp_path / "theirs" / "Dialogue").rglob("*.wav"))
    assert len(wavs) == 2 * len(lines)


def test_a_sequence_tells_what_was_said_before_and_the_point_of_its_own_turn(
    spoken, dialogues, tmp_path
):
    tiny.make_speech_tokenizer(tmp_path / "tokenizer")
    folder = encode_corpus(spoken, tmp_path / "tokenizer", output=tmp_path / "out")
    dropped = set(json.loads((folder / "affect_dropout.json").read_bytes())["ids"])
    lines = [
        json.loads(line)
        for path in sorted(folder.glob("encoded_*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    texts = {line["id"]: line["text"] for line in lines}
    assert len(texts) == len(Corpus.open(spoken))
    for turns in dialogues.values():
        for number, row in enumerate(turns):
            text = texts[row["id"]]
            assert text.count("<|assistant|>") == number + 1
            said = re.sub(r"<\|audio_\d+\|>", "", text)
            assert [said.count(one["response_text"]) for one in turns] == [1] * (number + 1) + [
                0
            ] * (len(turns) - number - 1)
            point = f"(valence={row['valence']:.2f}, arousal={row['arousal']:.2f})"
            assert said.count("User emotion") == 1
            assert (point if row["id"] not in dropped else "User emotion N/A") in said
            if number:
                before = texts[turns[number - 1]["id"]]
                assert text.split("\n", 2)[2].startswith(before.split("\n", 2)[2])
