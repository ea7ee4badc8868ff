"""What moved between two states of a corpus: known changes are found, and nothing else."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from corpus.errors import InvalidInput, SympatheiaError
from corpus.report.comparison_data import MOST_SHOWN, Side, gather_comparison
from corpus.report.comparison_figures import EVALUATION
from corpus.report.comparison_page import write_comparison
from schemas.tables import REJECTS
from tests.support.browser import CHROMIUM, PHONE, browser_at
from tests.support.datasets import accept_files, rewrite, shard
from tests.support.line import typed


def compare(a: Path, b: Path) -> dict:
    """As a reader of comparison.json has it."""
    return json.loads(json.dumps(gather_comparison(Side.named(str(a)), Side.named(str(b)))))


def moved(facts: dict) -> dict[str, tuple[int, ...]]:
    """Rows added, gone, changed and unchanged, by cell."""
    what = ("added", "gone", "changed", "unchanged")
    return {found["cell"]: tuple(found[key] for key in what) for found in facts["cells"]}


def figure(facts: dict, name: str, table: str = "figures") -> tuple:
    (found,) = (row for row in facts[table] if row["figure"] == name)
    return found["a"], found["b"], found["difference"]


# A changed anchor, and one that went


def described_otherwise(rows: list[dict]) -> list[dict]:
    """What is left without tired, where sad is answered in three more words, and in a clip."""
    kept = [row for row in rows if row["response_emotion"] != "tired"]
    for row in kept:
        if row["response_emotion"] == "sad":
            row["response_style"] = "Slow"
            row["response_text"] = "Take small steps. " + row["response_text"]
            if "response_audio" in row:
                row["response_audio"]["bytes"] = row["query_audio"]["bytes"]
    return kept


@pytest.fixture(scope="module")
def regrown(whole, tmp_path_factory) -> Path:
    """The whole run after sad was described otherwise, tired left out, and no text refused."""
    run = shutil.copytree(whole, tmp_path_factory.mktemp("regrown") / "run")
    for path in (run / "corpus" / "data").glob("*/*.parquet"):
        rewrite(path, described_otherwise)
    manifest = json.loads((run / "corpus" / "manifest.json").read_bytes())
    manifest["anchors"] = ["sad", "angry"]
    sad = next(a for a in manifest["anchor_file"]["anchors"] if a["name"] == "sad")
    sad |= {"response_style": "Slow", "cues": ["speak of small steps"]}
    (run / "corpus" / "manifest.json").write_text(json.dumps(manifest))
    accept_files(run / "corpus")
    rewrite(run / "rejects.parquet", lambda rows: [], REJECTS)
    return run


@pytest.fixture(scope="module")
def facts(whole, regrown) -> dict:
    return compare(whole, regrown)


def test_rows_go_and_change_where_the_anchors_did(facts):
    assert moved(facts) == {
        "emotional-sad": (0, 0, 10, 0),
        "emotional-angry": (0, 0, 0, 10),
        "emotional-tired": (0, 10, 0, 0),
        "neutral-sad": (0, 0, 4, 0),
        "neutral-angry": (0, 0, 0, 4),
        "neutral-tired": (0, 4, 0, 0),
    }
    rows = facts["rows"]
    assert (rows["added"], rows["gone"], rows["changed"], rows["unchanged"]) == (0, 14, 14, 14)
    assert rows["by_column"] == dict.fromkeys(
        ("response_text", "response_audio", "response_style"), 14
    )


def test_the_other_way_round_what_went_has_come(whole, regrown):
    facts = compare(regrown, whole)
    assert moved(facts)["emotional-tired"] == (10, 0, 0, 0)
    assert facts["anchors"]["added"] == ["tired"]
    assert set(facts["ids"]["added"]) == {
        *(f"emotional-tired-{n:05d}" for n in range(10)),
        *(f"neutral-{n:05d}-tired" for n in range(4)),
    }


def test_the_anchors_are_told_with_what_is_said_of_them(facts):
    anchors = facts["anchors"]
    assert (anchors["added"], anchors["gone"]) == ([], ["tired"])
    assert anchors["changed"].keys() == {"sad"}
    assert anchors["changed"]["sad"].keys() == {"response_style", "cues"}
    assert anchors["changed"]["sad"]["response_style"]["b"] == "Slow"


def test_new_cues_change_answers_and_how_they_sound_and_leave_queries_alone(facts):
    texts, clips = facts["texts"], facts["clips"]
    assert texts["query"] == {
        "in_both": 24, "changed": 0, "share": 0.0, "words_gone": None, "words_come": None
    }  # fmt: skip
    assert texts["response"] == {
        "in_both": 28, "changed": 14, "share": 0.5, "words_gone": 0.0, "words_come": 3.0
    }  # fmt: skip
    assert clips["query"] == {"in_both": 24, "changed": 0, "share": 0.0}
    assert clips["response"] == {"in_both": 28, "changed": 14, "share": 0.5}


def test_figures_stand_side_by_side(whole, facts):
    assert figure(facts, "pairs") == (42, 28, -14)
    for row in facts["figures"]:
        if row["a"] is not None and row["b"] is not None:
            assert row["difference"] == pytest.approx(row["b"] - row["a"], abs=1e-4)
    refused = pq.read_table(whole / "rejects.parquet").num_rows
    stages = [f"refused, {stage}" for stage in ("queries", "responses")]
    found = [figure(facts, name) for name in stages]
    assert sum(a for a, _, _ in found) == refused > 0
    assert all(b == 0 for _, b, _ in found)
    names = {row["figure"] for row in facts["figures"]}
    assert {"queries", "hours, query", "near-twin responses"} <= names
    assert "Spearman of rate and arousal, query" in names
    assert any(name.startswith("median words, neutral") for name in names)
    assert facts["one_sided"] == {}


def test_pairs_to_listen_to_come_from_where_it_moved(facts):
    shown = facts["pairs"]
    assert len(shown) == len({pair["id"] for pair in shown}) == MOST_SHOWN
    assert {pair["cell"] for pair in shown} == {"emotional-sad", "neutral-sad"}
    assert any(pair["a"]["response_text"] != pair["b"]["response_text"] for pair in shown)


# Small changes by hand


def copied(whole: Path, folder: Path) -> Path:
    return shutil.copytree(whole / "corpus", folder)


def test_a_corpus_and_its_copy_do_not_differ(whole, tmp_path):
    facts = compare(whole, copied(whole, tmp_path / "copy"))
    rows = facts["rows"]
    assert rows == {"added": 0, "gone": 0, "changed": 0, "unchanged": 42, "by_column": {}}
    assert facts["pairs"] == []
    assert facts["anchors"] == {"added": [], "gone": [], "changed": {}}
    assert facts["one_sided"] == {"near_twins": "a", "refusals": "a", "sound": "a"}


def test_a_query_that_several_rows_share_counts_once_and_words_are_counted(whole, tmp_path):
    changed = []

    def reword(rows):
        query = rows[0]["query_id"]
        for row in rows:
            if row["query_id"] == query:
                row["query_text"] = "one more " + row["query_text"].rpartition(" ")[0]
                changed.append(row["id"])

    other = copied(whole, tmp_path / "other")
    rewrite(shard(other), reword)
    facts = compare(whole / "corpus", other)
    assert len(changed) == 3
    assert facts["ids"]["changed"] == {"query_text": changed}
    assert facts["texts"]["query"] == {
        "in_both": 34, "changed": 1, "share": 0.0294, "words_gone": 1.0, "words_come": 2.0
    }  # fmt: skip
    assert facts["clips"]["query"]["changed"] == 0
    assert {pair["id"] for pair in facts["pairs"]} == set(changed)


def test_a_clip_counts_by_its_bytes_and_not_by_its_name(whole, tmp_path):
    def swap(rows):
        rows[0]["response_audio"]["path"] = "renamed.flac"
        rows[1]["response_audio"]["bytes"] = rows[2]["response_audio"]["bytes"]

    other = copied(whole, tmp_path / "other")
    rewrite(shard(other, "emotional"), swap)
    facts = compare(whole / "corpus", other)
    assert facts["rows"]["by_column"] == {"response_audio": 1}
    assert facts["clips"]["response"] == {"in_both": 42, "changed": 1, "share": 0.0238}
    assert facts["texts"]["response"]["changed"] == 0
    (pair,) = facts["pairs"]
    assert pair["changed"] == ["response_audio"]


def test_the_same_comparison_is_the_same_file(whole, regrown, facts):
    assert compare(whole, regrown) == facts


# Evaluations


def judged(whole: Path, folder: Path, systems: dict) -> Path:
    copied(whole, folder)
    (folder / EVALUATION).write_text(json.dumps({"systems": systems, "published": {}}))
    return folder


def system(mean: float, low: float, high: float) -> dict:
    measure = {"mean": mean, "n": 9, "low": low, "high": high}
    return {
        "rows": 42,
        "prosody": {"rate": {"arousal": {"rho": mean, "p": 0.1, "n": 9}}},
        "invariance": {"rouge_l": measure},
        "intelligibility": {"wer_corpus": mean, "wer_mean": measure},
        "naturalness": None,
        "missing": {},
    }


def test_evaluations_beside_both_are_compared(whole, tmp_path):
    a = judged(whole, tmp_path / "a", {"a": system(0.2, 0.1, 0.3), "other": system(9, 9, 9)})
    b = judged(whole, tmp_path / "b", {"renamed": system(0.5, 0.4, 0.6)})
    facts = compare(a, b)
    assert figure(facts, "rows", "evaluation") == (42, 42, 0)
    assert figure(facts, "prosody, rate, arousal", "evaluation") == (0.2, 0.5, 0.3)
    assert figure(facts, "intelligibility, wer corpus", "evaluation") == (0.2, 0.5, 0.3)
    apart = {row["figure"]: row["apart"] for row in facts["evaluation"]}
    assert apart["invariance, rouge l"] is True
    assert apart["intelligibility, wer corpus"] is None


def test_an_evaluation_of_one_alone_is_said_to_be_one(whole, tmp_path):
    facts = compare(whole / "corpus", judged(whole, tmp_path / "b", {"b": system(0.5, 0.4, 0.6)}))
    assert facts["evaluation"] is None
    assert facts["one_sided"] == {"evaluation": "b"}


def test_a_damaged_evaluation_is_named(whole, tmp_path):
    folder = judged(whole, tmp_path / "b", {})
    (folder / EVALUATION).write_text("{")
    with pytest.raises(SympatheiaError, match="evaluation.json is damaged"):
        compare(whole, folder)


# What is named


def test_what_is_neither_a_folder_nor_a_name_is_told(tmp_path):
    with pytest.raises(InvalidInput, match="There is no folder .*/nowhere"):
        Side.named(str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInput, match="is not a dataset folder"):
        Side.named(str(tmp_path))


# The command


def test_the_command_prints_what_moved(whole, regrown):
    ran = typed("compare", whole, regrown)
    assert ran.returncode == 0, ran.stderr
    said = "Of 28 rows that both have, 14 differ; 0 were added, and 14 are gone."
    assert said in ran.stdout
    assert "Anchors gone: tired." in ran.stdout
    for title in ("Changed by column", "Where it moved", "Figures"):
        assert f"\n{title}\n" in ran.stdout


def test_the_command_gives_json_and_writes_a_page(whole, regrown, facts, tmp_path):
    ran = typed("compare", whole, regrown, "--json", "--output", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == facts
    assert json.loads((tmp_path / "out" / "comparison.json").read_bytes()) == facts
    assert str(tmp_path / "out" / "comparison.html") in ran.stderr


def test_the_command_refuses_what_it_cannot_compare(whole, tmp_path):
    for arguments in ((whole,), (whole, tmp_path), (whole, tmp_path / "nowhere"), (whole, "")):
        ran = typed("compare", *arguments)
        assert ran.returncode == 2, ran.stderr
        assert ran.stdout == ""
        assert "Traceback" not in ran.stderr


# The page


@pytest.fixture(scope="module")
def page(whole, regrown, facts, tmp_path_factory) -> Path:
    sides = Side.named(str(whole)), Side.named(str(regrown))
    return write_comparison(*sides, facts, tmp_path_factory.mktemp("page"))


def test_a_text_that_looks_like_markup_stays_text(whole, tmp_path):
    text = "<script>alert(1)</script>"
    other = copied(whole, tmp_path / "other")
    rewrite(shard(other), lambda rows: rows[0].update(response_text=text))
    facts = compare(whole, other)
    sides = Side.named(str(whole)), Side.named(str(other))
    written = write_comparison(*sides, facts, tmp_path / "out").read_text()
    assert text not in written.rpartition("</style>")[2].partition("<body>")[2]
    assert "alert(1)" in written


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
class TestInABrowser:
    def test_it_loads_draws_and_plays_both_sides_without_an_error_or_a_request(self, page):
        with browser_at(page) as opened:
            players = opened.players()
            assert len(players) == MOST_SHOWN * 2 * 2
            assert all(player["error"] is None and player["seconds"] > 0.5 for player in players)
            assert opened.page.locator(".js-plotly-plot .main-svg").count() >= 1
            assert opened.errors == []
            assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []

    def test_it_fits_a_phone(self, page):
        with browser_at(page, PHONE) as opened:
            assert opened.page.evaluate("document.scrollingElement.scrollWidth") <= PHONE[0]
            assert opened.errors == []
