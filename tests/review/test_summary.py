"""What comes of a review: counts, means with intervals, agreement, and what is disputed."""

import json
import shutil

import numpy as np
import pytest

from corpus.opened import Corpus
from corpus.review.agreement import agreement, fleiss
from corpus.review.coverage import share_of
from corpus.review.desk import Desk, Part, Said
from corpus.review.summary import summarise
from corpus.review.verdicts import Reviews
from corpus.run.run_folder import RunFolder
from tests.support.line import typed


@pytest.fixture
def run(built, tmp_path):
    return RunFolder(shutil.copytree(built.root, tmp_path / "run"))


def review(run, reviewer, struck=(), fit=None, places=range(6)):
    """Someone goes through some places, strikes the response at some, and rates them."""
    desk = Desk(run)
    for place in places:
        shown = desk.shown(place, reviewer)
        parts = [
            Part(
                role=part["role"],
                digest=part["digest"],
                verdict="strike" if place in struck and part["role"] == "response" else "keep",
                ratings={"fit": fit(place)} if fit and part["role"] == "response" else {},
                note="cold" if place in struck and part["role"] == "response" else "",
            )
            for part in shown["parts"]
        ]
        desk.take(Said(id=shown["id"], reviewer=reviewer, parts=parts))


def test_kept_and_struck_are_counted_by_cell_and_ratings_have_intervals(run):
    review(run, "ada", struck={0}, fit=lambda place: 1 + place % 5)
    found = summarise(run)
    assert found["pairs"] == 6
    assert found["planned"] == 42
    assert found["reviewers"] == {"ada": {"kept": found["items"] - 1, "struck": 1}}
    first = Desk(run).pairs[0]
    assert found["cells"][first.cell]["struck"] == 1
    assert sum(cell["struck"] for cell in found["cells"].values()) == 1
    assert sum(cell["kept"] + cell["struck"] for cell in found["cells"].values()) == found["items"]
    overall = found["ratings"]["fit"]["all"]
    assert (overall["mean"], overall["n"]) == (pytest.approx(16 / 6, abs=1e-4), 6)
    assert 1 <= overall["low"] <= overall["mean"] <= overall["high"] <= 5
    assert found["ratings"]["naturalness"]["all"] is None


def test_of_two_reviewers_cohens_kappa_and_what_they_disagree_on(run):
    review(run, "ada", struck={0, 1})
    review(run, "bob", struck={1})
    found = summarise(run)
    pairs = Desk(run).pairs
    (disputed,) = found["disagreements"]
    assert (disputed["id"], disputed["role"]) == (pairs[0].id, "response")
    assert (disputed["struck_by"], disputed["kept_by"]) == ({"ada": "cold"}, ["bob"])
    things = found["agreement"]["things"]
    assert found["agreement"]["measure"] == "Cohen's kappa"
    both, one = 1 / things, 2 / things
    by_chance = both * one + (1 - both) * (1 - one)
    expected = (1 - 1 / things - by_chance) / (1 - by_chance)
    assert found["agreement"]["kappa"] == pytest.approx(expected, abs=1e-3)


def test_of_more_reviewers_it_is_fleiss(run):
    for name, struck in (("ada", {0}), ("bob", {0}), ("eve", {0, 2})):
        review(run, name, struck=struck)
    found = summarise(run)["agreement"]
    assert found["measure"] == "Fleiss' kappa"
    assert 0 < found["kappa"] < 1
    assert [pair["judges"] for pair in found["pairs"]] == [
        ["ada", "bob"],
        ["ada", "eve"],
        ["bob", "eve"],
    ]


def test_fleiss_kappa_is_that_of_his_formula():
    # Ten subjects, three raters: worked by hand from equations 3 to 7 of the paper.
    said = [["a", "a", "a"]] * 4 + [["a", "a", "b"]] * 2 + [["b", "b", "b"]] * 4
    observed = (8 * 1 + 2 * (1 / 3)) / 10
    by_chance = (16 / 30) ** 2 + (14 / 30) ** 2
    assert fleiss(said) == pytest.approx((observed - by_chance) / (1 - by_chance), abs=1e-4)


def test_judges_who_say_anything_agree_as_chance_has_it():
    draw = np.random.default_rng(0)
    said = {
        number: {name: str(draw.choice(["keep", "strike"])) for name in ("a", "b", "c")}
        for number in range(3_000)
    }
    found = agreement(said)
    assert abs(found["kappa"]) < 0.05
    assert all(abs(pair["kappa"]) < 0.06 for pair in found["pairs"])


def test_where_all_say_one_thing_no_kappa_can_be_told():
    found = agreement({n: {"a": "keep", "b": "keep"} for n in range(5)})
    assert (found["agreed"], found["kappa"]) == (1, None)


def test_the_command_prints_it_and_gives_it_as_json(run):
    review(run, "ada", struck={0}, fit=lambda place: 3)
    review(run, "bob")
    said = typed("review", run.root, "--summary")
    assert said.returncode == 0, said.stderr
    assert "6 of 42 pairs" in said.stdout
    assert "fit" in said.stdout and "3.00" in said.stdout
    assert "Cohen's kappa" in said.stdout
    assert "struck by ada (cold), kept by bob" in said.stdout
    found = json.loads(typed("review", run.root, "--summary", "--json").stdout)
    assert found == summarise(run)


def test_the_report_says_how_much_people_heard_and_struck(run):
    assert Corpus.open(run.root).figures()["review"] is None
    review(run, "ada", struck={0})
    corpus = Corpus.open(run.root)
    assert corpus.figures()["review"] == summarise(run)
    page = corpus.write_report().read_text()
    assert "<dt>pairs heard by 1 reviewer</dt><dd>6</dd>" in page
    assert "<dt>texts and clips they struck</dt><dd>1</dd>" in page


def test_of_a_run_that_nobody_reviewed_it_says_so(run):
    said = typed("review", run.root, "--summary")
    assert (said.returncode, "Nobody has reviewed" in said.stdout) == (0, True)
    assert not Reviews(run.reviews).path.exists()


def test_a_run_without_clips_is_not_reviewed_and_says_why(run):
    run.clips.unlink()
    refused = typed("review", run.root)
    assert refused.returncode == 2
    assert "has nothing to review yet: it has no clips.parquet" in refused.stderr


def test_json_goes_with_the_summary(run):
    assert typed("review", run.root, "--json").returncode == 2


def test_a_share_of_pairs_is_counted_as_it_is_written():
    assert [share_of(100, percent / 100) for percent in range(1, 101)] == [*range(1, 101)]
    assert [share_of(pairs, 0.05) for pairs in (1, 20, 21)] == [1, 1, 2]
