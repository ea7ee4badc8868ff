"""Dialogues in a review: what was said before is shown, and what is struck changes what follows."""

import shutil

import pytest

from corpus.review.desk import Desk
from corpus.review.review_server import application
from corpus.review.verdicts import Reviews, Verdict, now, standing_digests
from corpus.run.run_folder import RunFolder
from tests.support.browser import CHROMIUM, PHONE, browser_at
from tests.support.line import SPOKEN, SPOKEN_ANCHORS, rows, texts_of
from tests.support.served_system import serving

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
PATIENCE_MS = 60_000
TALKS = (*SPOKEN, "dialogue.dialogues=2", "dialogue.turns=[3, 3]")
FIRST, SECOND, THIRD = (f"dialogue-00000-{turn:02d}" for turn in (1, 2, 3))


@pytest.fixture(scope="module")
def talks(tmp_path_factory, line, embedding):
    """Two dialogues of three turns, answered by how loud the user is. Look, and change nothing."""
    return line.build(tmp_path_factory.mktemp("talks") / "run", *TALKS, anchors=SPOKEN_ANCHORS)


@pytest.fixture(scope="module")
def shown(talks):
    """By id, what the page is told of a pair."""
    desk = Desk(talks)
    return {desk.pairs[place].id: desk.shown(place, "ada") for place in range(len(desk.pairs))}


def test_a_turn_is_shown_with_the_words_before_it_in_their_order(talks, shown):
    queries = {row["query_id"]: row["text"] for row in rows(talks.queries)}
    responses = {row["id"]: row["text"] for row in rows(talks.responses)}
    said = [{"query": queries[one], "response": responses[one]} for one in (FIRST, SECOND)]
    assert [shown[one]["said"] for one in (FIRST, SECOND, THIRD)] == [[], said[:1], said]
    few = Desk(talks, per_cell=1)
    assert [few.shown(place, "ada")["said"] for place in range(len(few.pairs))] == [
        shown[pair.id]["said"] for pair in few.pairs
    ]


def test_it_is_told_which_turns_are_made_anew_with_what_is_struck(shown):
    assert shown[FIRST]["hanging"] == {
        "query": "Striking the query's words has its response and the 2 turns after it written "
        "anew. Striking its sound may have this response or a later one spoken anew.",
        "response": "Striking the response's words has the 2 turns after it written anew.",
    }
    assert shown[SECOND]["hanging"]["response"].endswith("has the turn after it written anew.")
    assert shown[THIRD]["hanging"] == {
        "query": "Striking the query's words has its response written anew. Striking its sound "
        "may have this response spoken anew.",
        "response": "",
    }


def test_words_that_are_struck_have_all_later_turns_written_anew_and_nothing_else(
    talks, line, tmp_path
):
    run = RunFolder(shutil.copytree(talks.root, tmp_path / "run"))
    before, digest = texts_of(run), standing_digests(run)[SECOND, "response"]
    strike = Verdict(
        id=SECOND, role="response", digest=digest, reviewer="ada", verdict="strike", at=now()
    )
    Reviews(run.reviews).add([strike])
    line.build(run.root, *TALKS, anchors=SPOKEN_ANCHORS)
    after = texts_of(run)
    anew = {f"response {SECOND}", THIRD, f"response {THIRD}"}
    assert {slot for slot in after if after[slot] != before[slot]} == anew
    Reviews(run.reviews).add([strike.model_copy(update={"verdict": "keep", "at": now()})])
    line.build(run.root, *TALKS, anchors=SPOKEN_ANCHORS)
    assert texts_of(run) == before


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_them_above_the_turn_and_passes_wcag_aa(talks, shown, scheme):
    place = {one["id"]: one["place"] for one in shown.values()}
    with (
        serving(application(Desk(talks), "ada")) as address,
        browser_at(f"{address}/#{place[THIRD]}", PHONE, color_scheme=scheme) as opened,
    ):
        page = opened.page
        page.wait_for_selector(f"body[data-place='{place[THIRD]}']", timeout=PATIENCE_MS)
        lines = page.locator("#earlier p").all_inner_texts()
        assert lines == [
            f"{whose}: {exchange[whose.lower()]}"
            for exchange in shown[THIRD]["said"]
            for whose in ("Query", "Response")
        ]
        assert "Turn 3 of a dialogue" in page.locator("#earlier summary").inner_text()
        assert page.locator("#hanging-query").inner_text() == shown[THIRD]["hanging"]["query"]
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE[0]
        assert opened.offences() == []
        page.evaluate(f"show({place[FIRST]})")
        page.wait_for_selector(f"body[data-place='{place[FIRST]}']", timeout=PATIENCE_MS)
        assert not page.locator("#earlier").is_visible()
        assert page.locator("#hanging-response").inner_text() == shown[FIRST]["hanging"]["response"]
        assert opened.errors == []
