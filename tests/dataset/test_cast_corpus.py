"""A corpus whose clips are cast, from the texts to what is read of it, by a small run."""

import asyncio
import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from datasets import Features, load_dataset

from corpus.checks.dataset_check import check_folder
from corpus.checks.inspection import Inspection
from corpus.checks.row_gates import check_rows
from corpus.checks.speaker_gates import check_speakers
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.opened import Corpus
from corpus.report.page import write_report
from corpus.review.pairs import pairs_to_review
from corpus.review.suspicion import suspicion
from corpus.run.run_folder import RunFolder
from corpus.speech.speech_stage import speak_all
from corpus.store.digest_store import Store
from schemas.tables import SPEAKERS, features, rows_with
from tests.support.datasets import accept_files, rewrite, shard
from tests.support.fake_servers import FakeTextServer
from tests.support.line import (
    RememberingVoice,
    files_of,
    open_run,
    rows,
    speak_and_pack,
    write_recipe,
    write_run,
)

ANCHORS = ("sad", "angry")
CAST = (
    'speech.query_voices=["lena", "finn"]',
    'speech.response_voices=["clara", "paul"]',
    'speech.eval_voices=["zoe"]',
)
SIZE = ("emotional.pairs_per_anchor=5", "neutral.queries=2")


def texts_of(folder, *more):
    """The run with its texts written, and how many requests that took."""
    folder.mkdir(exist_ok=True)
    with FakeTextServer() as server:
        recipe = write_recipe(folder / "r.toml", server.base_url, ANCHORS)
        run = write_run(folder / "run", recipe, *SIZE, *CAST, *more)
        return run, server.count


@pytest.fixture(scope="module")
def cast(tmp_path_factory):
    """A run with three speakers of queries and two of responses. Look, and change nothing."""
    run, _ = texts_of(tmp_path_factory.mktemp("cast"))
    speak_and_pack(run)
    return run.root


def test_a_row_says_who_speaks_and_speakers_of_eval_stay_there(cast):
    blueprint, found = DatasetFolder(cast).blueprint, list(Corpus.open(cast))
    assert len(found) == 2 * 5 + 2 * 2
    for row in found:
        assert row["query_speaker"] in (("zoe",) if row["split"] == "eval" else ("lena", "finn"))
        assert row["response_speaker"] in ("clara", "paul")
        assert [row["query_voice"], row["response_voice"]] == [row[name] for name in SPEAKERS]
    assert {row["split"] for row in found} == {"train", "eval"}
    assert blueprint.plan.columns == SPEAKERS


def test_all_gates_pass(cast):
    passed = {gate.name: gate.passed for gate in check_folder(cast)}
    assert [name for name, holds in passed.items() if not holds] == []
    assert {"speaker_unknown", "eval_speaker_in_train", "speaker_balance"} <= {*passed}


def test_a_speaker_who_was_changed_in_a_row_is_told(cast, tmp_path):
    folder = shutil.copytree(cast / "corpus", tmp_path / "dataset")

    def change(rows):
        rows[0]["query_speaker"] = "zoe"
        rows[1]["response_speaker"] = "otto"

    path = shard(folder, "emotional", "train")
    rewrite(path, change, schema=rows_with(SPEAKERS))
    accept_files(folder)
    look = Inspection(DatasetFolder(folder))
    check_rows(look)
    check_speakers(look)
    failed = {gate.name: gate.found for gate in look.gates.all if not gate.passed}
    assert failed["eval_speaker_in_train"] == failed["speaker_unknown"] == 1
    assert failed["added"] == 2


def test_the_same_recipe_gives_the_same_bytes(cast, tmp_path):
    run, _ = texts_of(tmp_path)
    speak_and_pack(run)
    assert files_of(run) == files_of(RunFolder(cast))


def test_a_cast_asks_no_text_anew_where_the_templates_have_no_profile(tmp_path):
    small = 'llm.templates="small"'
    _, cast = texts_of(tmp_path / "cast", small)
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url, ANCHORS)
        write_run(tmp_path / "cast" / "run", recipe, *SIZE, small)
        assert (cast > 0, server.count) == (True, 0)


def test_another_cast_has_queries_written_anew_where_the_templates_have_a_profile(tmp_path):
    folder = tmp_path / "cast"
    run, _ = texts_of(folder)
    others = ('speech.query_voices=["walter"]', *CAST[1:])
    with FakeTextServer() as server:
        recipe = write_recipe(folder / "r.toml", server.base_url, ANCHORS)
        write_run(run.root, recipe, *SIZE, *others)
        asked = server.count
        fresh = write_run(tmp_path / "fresh", recipe, *SIZE, *others)
    assert asked > 0
    # What stood is compared with first, so that another may be the nearest of a query.
    now, anew = (
        {row["query_id"]: row["text"] for row in rows(one.queries)} for one in (run, fresh)
    )
    assert now == anew


class SwappedVoice(RememberingVoice):
    """The builtin voice, which has each of lena's queries spoken by otto at first."""

    def __init__(self, speech, known):
        super().__init__(speech)
        self.known = known
        self.said = set()

    async def speak(self, request, what):
        if request.voice == "lena" and what.startswith("query") and request.text not in self.said:
            self.said.add(request.text)
            request = replace(request, speaker=self.known["otto"])
        return await super().speak(request, what)


def test_a_clip_by_another_speaker_is_refused_by_name_and_made_again(cast, tmp_path):
    run, _ = texts_of(tmp_path)
    with open_run(run) as opened:
        known = {one.name: one.builtin for one in opened.blueprint.prompts.speakers}
        with SwappedVoice(opened.blueprint.recipe.speech, known) as voice:
            assert asyncio.run(speak_all(opened, voice))
    refused = [row for row in rows(run.rejects) if row["stage"] == "speech"]
    assert {row["reason"] for row in refused} == {"other_speaker"}
    of_lena = {r["query_id"] + "-query" for r in Corpus.open(cast) if r["query_speaker"] == "lena"}
    assert {row["slot"] for row in refused} == of_lena
    second = {f"{c['id']}-{c['role']}" for c in rows(run.clips) if c["attempt"] == 1}
    assert second == of_lena


def test_a_review_shows_first_what_sounds_most_like_another_speaker(cast, tmp_path):
    run = RunFolder(shutil.copytree(cast, tmp_path / "run"))
    pairs, speakers = (
        pairs_to_review(run),
        {r["query_id"]: r["query_speaker"] for r in Corpus.open(cast)},
    )
    before = suspicion(run, pairs)
    assert all(value < 1 for value in before.values())
    of = {name: next(p for p in pairs if speakers[p.query_id] == name) for name in ("lena", "finn")}
    lena, finn = (of[name].digests["query_clip"] for name in ("lena", "finn"))
    with Store(run.store) as store:
        heard = store.speakers.require(finn)
        store.speakers.forget(lena)
        store.speakers.put(lena, heard)
    after = suspicion(run, pairs)
    assert {one for one in after if after[one] != before[one]} == {
        pair.id for pair in pairs if pair.digests["query_clip"] == lena
    }
    assert after[of["lena"].id] == 1


def test_the_card_and_the_report_tell_of_the_speakers(cast, tmp_path):
    card = (cast / "corpus" / "README.md").read_text()
    assert "queries by 2 speakers, responses by 2 speakers" in card
    assert "are by zoe, who are heard nowhere in `train`" in card
    assert "| clara | female | middle-aged | mid |" in card
    page = write_report(DatasetFolder(cast), tmp_path).read_text()
    facts = json.loads((tmp_path / "report.json").read_bytes())["cast"]
    assert [heard["name"] for heard in facts] == ["lena", "finn", "clara", "paul", "zoe"]
    assert facts[-1]["clips"]["train"] == 0 < facts[-1]["clips"]["eval"]
    found = list(Corpus.open(cast))
    queries = {row["query_id"]: row["query_seconds"] for row in found if row["split"] == "train"}
    heard = sum(row["response_seconds"] for row in found if row["split"] == "train")
    told = sum(heard["minutes"]["train"] for heard in facts)
    assert told == pytest.approx((sum(queries.values()) + heard) / 60, abs=0.05)
    assert "Who is heard how much" in page


def test_datasets_reads_the_columns_of_the_speakers(cast):
    read = Features.from_dict(features(SPEAKERS))
    path = shard(cast / "corpus", "emotional")
    assert Features.from_arrow_schema(pq.read_schema(path)) == read
    text = load_dataset(str(cast / "corpus"), "text", split="eval", streaming=True)
    assert {row["query_speaker"] for row in text} == {"zoe"}


def test_a_cast_corpus_is_compared_with_itself_recast(cast, tmp_path):
    run = RunFolder(shutil.copytree(cast, tmp_path / "run"))
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url, ANCHORS)
        other = CAST[1].replace('"clara", ', "")
        write_run(run.root, recipe, *SIZE, CAST[0], other, CAST[2])
        assert server.count == 0
    speak_and_pack(run)
    compared = Corpus.open(cast).compare(Corpus.open(run.root))
    by_clara = {row["id"] for row in Corpus.open(cast) if row["response_speaker"] == "clara"}
    assert set(compared.changed["response_speaker"]) == by_clara
    assert "query_speaker" not in compared.changed


def test_a_corpus_without_a_cast_says_nothing_of_speakers(whole):
    manifest = json.loads((whole / "corpus" / "manifest.json").read_bytes())
    assert set(manifest["voice"]) == {"query_voice", "response_voice", "loudness"}
    assert "speaker_file" not in manifest
    assert "peakers" not in (whole / "corpus" / "README.md").read_text()
    for path in (whole / "corpus").rglob("*.parquet"):
        assert not set(SPEAKERS) & set(pq.read_schema(path).names)
