"""Runs that were begun by an earlier release: continued at no cost, or refused with a sentence.

If a release lets the first two tests fail, it asks anew what users have
paid for: the format of the run folder (`corpus.plan.recipe_files.FORMAT`) then takes its next
number, and the changelog says so.
"""

import json
import shutil
from pathlib import Path

import pytest

from corpus.checks.clip_gates import check_clips
from corpus.checks.inspection import Inspection
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import BUNDLED
from corpus.run.run_folder import RunFolder
from corpus.speech.clip_requests import ClipRequest
from corpus.store.line_log import read_log
from schemas.prompts import Point
from tests.support.fake_servers import FakeTextServer
from tests.support.line import (
    files_of,
    rows,
    speak_and_pack,
    sympatheia,
    typed,
    write_recipe,
    write_run,
)

RELEASES = Path(__file__).parents[1] / "releases"
BEGUN = RELEASES / "0.1.0"
"""Stopped by a kill: all three queries are decided, one response of three is there.

Of 0.2.0 there is a finished run without its tables and its dataset, and the digests of these."""


def test_a_run_of_an_earlier_release_is_continued(shared_prefect, tmp_path):
    run = shutil.copytree(BEGUN, tmp_path / "run")
    decided = (run / "decisions.jsonl").read_bytes()
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url, anchors=("sad",))
        settings = ("--set", "emotional.pairs_per_anchor=2", "--set", "neutral.queries=1")
        built = sympatheia("build", recipe, "--run-dir", run, "--until", "responses", *settings)
        assert built.returncode == 0, built.stderr
        assert server.count == 2
    assert (run / "decisions.jsonl").read_bytes() == decided
    kept = {row["query_id"]: row["digest"] for row in rows(run / "tables" / "queries.parquet")}
    assert kept == {line["slot"]: line["digest"] for line in read_log(run / "decisions.jsonl")}
    assert len(rows(run / "tables" / "responses.parquet")) == 3


def test_a_whole_run_of_the_last_release_makes_the_same_files_and_asks_nothing(tmp_path):
    folder = shutil.copytree(RELEASES / "0.2.0", tmp_path / "run")
    made = {path.name for path in (folder / "store").rglob("*.flac")}
    prompts = shutil.copytree(BUNDLED, tmp_path / "prompts")
    shutil.copy(folder / "rules.yaml", prompts)
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url, anchors=("sad",))
        settings = ("emotional.pairs_per_anchor=1", "neutral.queries=1", f'prompts="{prompts}"')
        run = write_run(folder, recipe, *settings)
        speak_and_pack(run)
        assert server.count == 0
    assert {path.name for path in (folder / "store").rglob("*.flac")} == made
    # What the recipe says of a rule that there was not is all that is new.
    manifest = run.corpus / "manifest.json"
    said = json.loads(manifest.read_text())
    assert said.pop("text_rules") == {"off_topic": False}
    manifest.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert files_of(run) == json.loads((folder / "files.json").read_text())
    look = Inspection(DatasetFolder(run.corpus))
    check_clips(look)  # their margins were never filled
    failed = {gate.name for gate in look.gates.all if not gate.passed}
    assert failed <= {"words_per_second_off"}  # which takes more than a few clips to mean something


@pytest.mark.parametrize(("said", "kept"), [((), -23.0), (("speech.loudness=-25.0",), -25.0)])
def test_a_run_keeps_the_loudness_it_was_begun_with_unless_the_recipe_says_another(
    tmp_path, said, kept
):
    folder = RunFolder(shutil.copytree(RELEASES / "0.2.0", tmp_path / "run"))
    recipe = write_recipe(tmp_path / "r.toml", "http://127.0.0.1:9/v1", anchors=("sad",))
    asked = Blueprint.named(str(recipe), said)
    assert folder.adopt(asked).recipe.speech.loudness == kept
    assert folder.read_recipe().speech.loudness == kept
    new = RunFolder(tmp_path / "new").adopt(asked)
    assert new.recipe.speech.loudness == asked.recipe.speech.loudness


def test_a_run_of_a_release_with_another_format_is_refused(tmp_path):
    run = shutil.copytree(BEGUN, tmp_path / "run")
    text = (run / "recipe.toml").read_text()
    text = text.replace('sympatheia-corpus = "0.1.0"', 'sympatheia-corpus = "9.0.0"')
    (run / "recipe.toml").write_text(text.replace("[resolved]\n", "[resolved]\nformat = 9\n"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    recipe = write_recipe(tmp_path / "r.toml", "http://127.0.0.1:9/v1", anchors=("sad",))
    for command in (("build", recipe, "--run-dir", run), ("status", run)):
        refused = typed(*command)
        assert refused.returncode == 2
        assert "begun by sympatheia-corpus 9.0.0" in refused.stderr
        assert "Finish it with that version, or give another folder" in refused.stderr
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize(
    ("request_", "digest"),
    [
        (
            ClipRequest(
                "sympatheia-voice-1",
                "wren",
                "Where is my cat?",
                "English",
                7,
                -23.0,
                point=Point(valence=-0.5, arousal=0.25),
            ),
            "4fe53b896c91b9f7abf5e01a07b15b0b1e278d67492e5aaa84ab4637ef205ab0",
        ),
        (
            ClipRequest("q", "Ryan", "Where is my cat?", "English", 7, -23.0, style="Very sad."),
            "6ab0efbe7f7497aa9f3f240f987705cc8859029048dd181eadb83cfcba738c9b",
        ),
    ],
)
def test_clips_of_the_last_release_are_found(request_, digest):
    assert request_.digest() == digest
