"""The report of a run: its figures against the run's own tables, and its page in a real browser."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

from corpus.dataset.dataset_folder import DatasetFolder
from corpus.dataset.published_layout import export
from corpus.errors import InvalidInput, SympatheiaError
from corpus.report.page import write_report
from corpus.report.report_data import histogram
from corpus.run.run_folder import RunFolder
from schemas.slots import SUBSETS
from tests.support.browser import CHROMIUM, PHONE, browser_at
from tests.support.line import typed


def report(folder, output=None):
    return write_report(DatasetFolder(folder), output)


@pytest.fixture(scope="module")
def reported(whole, tmp_path_factory):
    """A folder with the report of the whole run."""
    folder = tmp_path_factory.mktemp("report")
    assert report(whole, folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def facts(reported):
    return json.loads((reported / "report.json").read_bytes())


def rows_of(run, table):
    return pq.read_table(table(RunFolder(run))).to_pylist()


def test_counts_and_hours_are_those_of_the_rows(whole, facts):
    rows = [
        row
        for subset in SUBSETS
        for path in (whole / "corpus" / "data" / subset).glob("*.parquet")
        for row in pq.read_table(path, columns=["split", "query_id", "query_seconds"]).to_pylist()
    ]
    assert sum(sum(counts.values()) for counts in facts["pairs"].values()) == len(rows) == 42
    queries = {row["query_id"]: row["query_seconds"] for row in rows}
    assert facts["queries"] == len(queries) == 34
    assert facts["hours"]["query"] == round(sum(queries.values()) / 3600, 3)
    assert {a["name"]: a["emotional"] for a in facts["anchors"]} == {
        "sad": 10, "angry": 10, "tired": 10
    }  # fmt: skip
    for role in ("query", "response"):
        counted = sum(map(sum, facts["words"][role]["counts"].values()))
        assert counted == (34 if role == "query" else 42)


def test_refusals_are_those_of_the_rejects(whole, facts):
    rejects = rows_of(whole, lambda run: run.rejects)
    assert rejects
    said = facts["refusals"]["rules"]
    assert sum(sum(rules.values()) for rules in said.values()) == len(rejects)
    in_cells = facts["refusals"]["cells"].values()
    assert sum(
        times for cells in in_cells for rules in cells.values() for times in rules.values()
    ) == len(rejects)
    assert all(0 < share <= 1 for share in facts["refusals"]["acceptance"]["queries"].values())


def test_similarities_and_their_threshold(whole, facts):
    near = [row["similarity"] for row in rows_of(whole, lambda run: run.queries)]
    near = [value for value in near if value is not None]
    found = facts["duplicates"]
    assert found["threshold"] == 0.85
    assert sum(found["counts"]["accepted"]) == len(near)
    assert found["median"]["accepted"] == pytest.approx(np.median(near), abs=1e-3)
    assert facts["near_twins"]["compared"] == 4 * 3


def test_prosody_by_anchor_and_its_correlation(facts):
    sound = facts["sound"]
    assert sound["clips"] == {"query": 34, "response": 42}
    assert sound["spearman"]["query"]["rate"]["arousal"] > 0.6
    low, middle, high = sound["by_anchor"]["query"]["angry"]["energy_mean"]
    assert 0 < low <= middle <= high
    assert middle > sound["by_anchor"]["query"]["tired"]["energy_mean"][1]


def test_cost_counts_every_answer_in_the_store(whole, facts):
    cost = facts["cost"]
    lines = sum(
        path.read_bytes().count(b"\n") for path in (whole / "store/completions").glob("*.jsonl")
    )
    assert cost["answers"] == lines
    assert cost["completion_tokens"] > 0
    assert sum(cost["tokens"]["response"]["counts"]["kept"]) == 42


def test_the_same_run_gives_the_same_report(whole, reported, tmp_path):
    report(whole, tmp_path)
    for name in ("report.html", "report.json"):
        assert (tmp_path / name).read_bytes() == (reported / name).read_bytes()


def test_a_bare_dataset_has_a_report_of_what_it_knows(whole, tmp_path):
    dataset = shutil.copytree(whole / "corpus", tmp_path / "dataset")
    with pytest.raises(InvalidInput, match="--output"):
        report(dataset)
    report(dataset, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert facts["queries"] == 34
    assert facts["refusals"] is facts["sound"] is facts["cost"] is None
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<audio") == 2 * 2 * 3
    assert "What was refused" not in page


def test_the_command_writes_into_the_run_and_says_where(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    done = typed("report", run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run / "report.html")
    assert (run / "report.json").is_file()
    nothing = typed("report", tmp_path)
    assert nothing.returncode == 2
    assert "is not a dataset folder" in nothing.stderr


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "train-00000-of-00001.parquet is missing. Build the corpus"),
        (lambda path: path.write_bytes(b"PAR1"), "train-00000-of-00001.parquet is damaged"),
    ],
)
@pytest.mark.parametrize("work", [report, export])
def test_a_shard_that_is_gone_or_damaged_is_named(whole, tmp_path, damage, sentence, work):
    dataset = shutil.copytree(whole / "corpus", tmp_path / "dataset")
    damage(dataset / "data" / "neutral" / "train-00000-of-00001.parquet")
    with pytest.raises(SympatheiaError, match=sentence):
        work(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_its_rejects_is_not_taken_for_one_without_refusals(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    (run / "rejects.parquet").unlink()
    with pytest.raises(SympatheiaError, match="rejects.parquet is missing; building"):
        report(run)


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "</script><b>&amp;"])
def test_a_text_that_looks_like_markup_stays_text(whole, tmp_path, text):
    dataset = shutil.copytree(whole / "corpus", tmp_path / "dataset")
    for path in (dataset / "data").glob("*/*.parquet"):
        table = pq.read_table(path)
        column = table.schema.get_field_index("query_text")
        texts = [text] * table.num_rows
        pq.write_table(table.set_column(column, table.schema.field(column), [texts]), path)
    page = report(dataset, tmp_path / "out").read_text()
    assert text not in page.rpartition("</style>")[2].partition("</head>")[2]


def test_histogram_keeps_every_value_and_one_that_is_alone():
    found = histogram({"a": [1.0, 2.0, 3.0], "b": [3.0], "none": []}, bins=4)
    assert {name: sum(counts) for name, counts in found["counts"].items()} == {"a": 3, "b": 1}
    assert histogram({"a": [5.0]})["median"] == {"a": 5.0}
    assert histogram({"a": []})["edges"] == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
class TestInABrowser:
    def test_it_loads_draws_and_plays_without_an_error_or_a_request(self, reported):
        with browser_at(reported / "report.html") as opened:
            players = opened.players()
            assert len(players) == 2 * 2 * 3
            assert all(player["error"] is None for player in players)
            assert all(player["seconds"] > 0.5 for player in players)
            drawn = opened.page.locator(".js-plotly-plot .main-svg").count()
            charts = opened.page.locator("figure").count()
            assert drawn >= charts >= 12
            spilt = opened.page.evaluate(
                """() => [...document.querySelectorAll('figure')].filter((figure) =>
                  [...figure.querySelectorAll('.main-svg')].some((svg) =>
                    svg.getBoundingClientRect().right > figure.getBoundingClientRect().right + 1)
                ).length"""
            )
            assert spilt == 0
            played = opened.page.evaluate(
                """async () => {
                  const audio = document.querySelector('audio');
                  audio.muted = true;
                  await audio.play();
                  await new Promise((done) => setTimeout(done, 500));
                  return audio.currentTime;
                }"""
            )
            assert played > 0.1
            assert opened.errors == []
            assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []

    def test_it_fits_a_phone(self, reported):
        with browser_at(reported / "report.html", PHONE) as opened:
            assert opened.page.evaluate("document.scrollingElement.scrollWidth") <= PHONE[0]
            assert opened.errors == []

    def test_it_can_be_used_by_keyboard_and_screen_reader(self, reported):
        with browser_at(reported / "report.html") as opened:
            page = opened.page
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
            page.keyboard.press("Enter")
            assert page.url.endswith("#content")
            unnamed = page.evaluate(
                """() => [...document.querySelectorAll('audio, section, figure')].filter(
                  (e) => !e.getAttribute('aria-label') && !e.querySelector('h3')).length"""
            )
            assert unnamed == 0
            # What a chart shows can be read as a table.
            details = page.locator("figure details")
            assert details.count() == page.locator("figure").count()
            details.first.locator("summary").focus()
            page.keyboard.press("Enter")
            assert details.first.locator("table").is_visible()
            levels = page.evaluate(
                "() => [...document.querySelectorAll('h1, h2, h3')].map((h) => +h.tagName[1])"
            )
            assert levels[0] == 1 and levels.count(1) == 1
            assert all(after - before <= 1 for before, after in pairwise(levels))
