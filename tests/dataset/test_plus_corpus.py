"""Everything at once: `sympatheia-plus` at the least size, in the builtin voice."""

import json
from collections import defaultdict

import pytest

from corpus.checks.dataset_check import check_folder
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.opened import Corpus
from corpus.plan.blueprint import Blueprint
from corpus.report.page import write_report
from corpus.run.run_folder import RunFolder
from schemas.slots import SUBSETS
from schemas.tables import ADDED, EMPATHY
from tests.support.fake_servers import FakeTextServer
from tests.support.line import SPOKEN_ANCHORS, rows, speak_and_pack, write_run
from tests.support.replies import ANY_TOPIC, kind_of

SMALL = (
    f"anchors={list(SPOKEN_ANCHORS)}",
    "emotional.pairs_per_anchor=1",
    "neutral.queries=1",
    "grid.queries=1",
    "grid.points=2",
    "dialogue.dialogues=2",
    "dialogue.turns=[2, 2]",
    'speech.backend="builtin"',
    "speech.endpoints=[]",
    'speech.model=""',
    'speech.query_voice="wren"',
    'speech.response_voice="heron"',
    "speech.concurrency=2",
    'speech.query_voices=["omar"]',
    "speech.eval_voices=[]",
    ANY_TOPIC,
)


@pytest.fixture(scope="module")
def plus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plus")
    with FakeTextServer() as server:
        served = (f'llm.endpoints=["{server.base_url}"]', 'llm.model="fake"')
        run = write_run(folder / "run", Blueprint.named("sympatheia-plus", (*SMALL, *served)))
        asked = [kind_of(body) for body in server.bodies]
    speak_and_pack(run)
    return run, asked


@pytest.fixture(scope="module")
def pairs(plus):
    return list(Corpus.open(plus[0].root))


def test_every_subset_and_every_column_is_there(plus, pairs):
    subsets = defaultdict(list)
    for row in pairs:
        subsets[row["subset"]].append(row)
    anchors = len(SPOKEN_ANCHORS)
    assert {name: len(found) for name, found in subsets.items()} == dict(
        zip(SUBSETS, (anchors, anchors, 2, 4), strict=True)
    )
    for row in pairs:
        assert set(ADDED) <= set(row)
        assert all(row[name] for name in EMPATHY)
        assert (row["query_speaker"], row["response_speaker"]) == ("omar", "lena")
        assert (row["blend"] is not None) == (row["subset"] == "grid")
        assert (row["turn"] is not None) == (row["subset"] == "dialogue")
    assert plus[1].count("annotation") == len(pairs) == len(rows(plus[0].annotations))


def test_all_gates_pass(plus):
    assert [gate.name for gate in check_folder(plus[0].root) if not gate.passed] == []


def test_card_manifest_and_report_tell_of_all_of_it(plus, tmp_path):
    card = (plus[0].corpus / "README.md").read_text()
    for name in SUBSETS:
        assert f"- **{name}**" in card
    assert "two voices" not in card
    manifest = json.loads((plus[0].corpus / "manifest.json").read_bytes())
    assert {"grid", "dialogue", "trajectory_file", "speaker_file"} <= set(manifest)
    write_report(DatasetFolder(plus[0].root), tmp_path)
    assert set(json.loads((tmp_path / "report.json").read_bytes())["pairs"]) == set(SUBSETS)


def test_a_repeat_asks_and_changes_nothing(plus):
    run, _ = plus
    before = (run.corpus / "manifest.json").read_bytes()
    speak_and_pack(RunFolder(run.root))
    assert (run.corpus / "manifest.json").read_bytes() == before
    assert Corpus.open(run.root).compare(Corpus.open(run.root)).changed == {}
