"""What people struck: refused by the next build and filled again, and restored when taken back."""

import shutil
from collections import Counter

import pytest

from corpus.errors import SympatheiaError
from corpus.review.desk import Desk
from corpus.review.verdicts import Reviews, Verdict, now, standing_digests, struck_in_review
from corpus.run.run_folder import RunFolder
from tests.support.line import files_of, rows, texts_of

STRUCK = (
    ("neutral-00002", "query"),
    ("emotional-sad-00001", "query_clip"),
    ("emotional-angry-00003", "response"),
    ("emotional-tired-00002", "response_clip"),
)


@pytest.fixture
def run(built, tmp_path):
    return RunFolder(shutil.copytree(built.root, tmp_path / "run"))


def say(run, verdict, items=STRUCK, *, digests=None, reviewer="ada", note="too loud"):
    there = digests or standing_digests(run)
    Reviews(run.reviews).add(
        Verdict(
            id=item,
            role=role,
            digest=None if digests == {} else there[item, role],
            reviewer=reviewer,
            verdict=verdict,
            note=note,
            at=now(),
        )
        for item, role in items
    )


def state(run):
    clips = {(row["id"], row["role"]): row["digest"] for row in rows(run.clips)}
    return texts_of(run), clips, files_of(run)


def attempts(run):
    """By slot of a text, which attempt at it stands."""
    queries = {row["query_id"]: row["attempt"] for row in rows(run.queries)}
    return queries | {f"response {row['id']}": row["attempt"] for row in rows(run.responses)}


def asked(line):
    return len(line.requests), len(line.spoken)


def test_each_is_refused_and_its_slot_filled_again_and_all_else_stays(run, line):
    before_texts, before_clips, _ = state(run)
    before_attempts = attempts(run)
    say(run, "strike")
    begun = asked(line)
    line.build(run.root)
    texts, clips, _ = state(run)
    hanging = {f"response neutral-00002-{name}" for name in ("sad", "angry", "tired")}
    assert {slot for slot in texts if texts[slot] != before_texts[slot]} == {
        "neutral-00002",
        "response emotional-angry-00003",
        *hanging,
    }
    spoken_anew = {
        ("neutral-00002", "query"),
        *((slot.removeprefix("response "), "response") for slot in hanging),
        ("emotional-sad-00001", "query"),
        ("emotional-angry-00003", "response"),
        ("emotional-tired-00002", "response"),
    }
    assert {slot for slot in clips if clips[slot] != before_clips[slot]} == spoken_anew
    texts_asked, clips_asked = (now - then for now, then in zip(asked(line), begun, strict=True))
    now_there = attempts(run)
    # Of the struck the attempts behind them; of what hangs on the query all, for it is another.
    next_ones = [
        now_there[slot] - before_attempts[slot] for slot in now_there if slot not in hanging
    ]
    assert texts_asked == sum(next_ones) + sum(now_there[slot] + 1 for slot in hanging)
    assert clips_asked == len(spoken_anew)
    assert len(rows(run.clips)) == 42 + 30
    refused = [row for row in rows(run.rejects) if row["reason"] == "struck_in_review"]
    assert Counter(row["stage"] for row in refused) == {"queries": 1, "responses": 1, "speech": 2}
    assert {row["note"] for row in refused} == {"ada: too loud"}


def test_taken_back_the_first_corpus_is_there_again_with_nothing_asked(run, line):
    before, digests = state(run), standing_digests(run)
    say(run, "strike")
    line.build(run.root)
    begun = asked(line)
    say(run, "keep", digests=digests)
    line.build(run.root)
    assert state(run) == before
    assert asked(line) == begun


def card(run):
    return (run.corpus / "README.md").read_text()


def test_the_card_says_how_much_people_reviewed_and_a_corpus_nobody_reviewed_keeps_its_own(
    run, line
):
    first, pairs = card(run), Desk(run).pairs
    assert "| review |" not in first
    for reviewer in ("ada", "bob"):
        for pair in pairs[:3]:
            say(run, "keep", [(pair.id, role) for role in pair.digests], reviewer=reviewer)
    say(run, "strike", STRUCK[2:], reviewer="bob")
    line.build(run.root)
    told = "| review | 3 of 42 pairs read and heard whole by 2 people; 2 texts and clips struck"
    assert told in card(run)
    run.reviews.unlink()
    line.build(run.root)
    assert card(run) == first


def test_what_was_kept_before_it_was_struck_and_taken_back_counts_as_kept(run, line):
    pair = next(pair for pair in Desk(run).pairs if pair.id == "emotional-angry-00003")
    items, digests = [(pair.id, role) for role in pair.digests], standing_digests(run)
    say(run, "keep", items)
    line.build(run.root)
    once = card(run)
    assert "| review | 1 of 42 pairs" in once
    say(run, "strike", items[2:3])
    line.build(run.root)
    assert "| review | 0 of 42 pairs" in card(run)
    say(run, "keep", items[2:3], digests=digests)
    line.build(run.root)
    assert card(run) == once


def test_many_struck_at_once_and_taken_back_in_two_turns(run, line):
    """Queries that resemble others among them, so that each gives way to the other's twins."""
    before, digests = state(run), standing_digests(run)
    items = [(row["query_id"], "query") for row in rows(run.queries)][::2]
    assert any(row["reason"] == "near_duplicate" for row in rows(run.rejects))
    say(run, "strike", items)
    line.build(run.root)
    struck = state(run)
    assert all(struck[0][item] != before[0][item] for item, _ in items)
    assert len(rows(run.queries)) == 30
    begun = asked(line)
    say(run, "keep", items[::2], digests=digests)
    line.build(run.root)
    say(run, "keep", items[1::2], digests=digests)
    line.build(run.root)
    assert state(run) == before
    assert asked(line) == begun


def test_a_build_into_an_empty_folder_gives_the_same_from_store_and_verdicts(run, line, tmp_path):
    say(run, "strike")
    line.build(run.root)
    begun = asked(line)
    again = RunFolder(tmp_path / "again")
    shutil.copytree(run.store, again.store)
    shutil.copy(run.reviews, again.reviews)
    line.build(again.root)
    assert files_of(again) == files_of(run)
    assert asked(line) == begun


def test_a_second_strike_takes_the_replacement_too_and_one_taken_back_leaves_the_other(run, line):
    item = [("emotional-angry-00003", "response"), ("emotional-sad-00002", "query")]
    first, digests = state(run), standing_digests(run)
    say(run, "strike", item)
    line.build(run.root)
    second = state(run)
    say(run, "strike", item)
    line.build(run.root)
    third = state(run)
    slots = ("response emotional-angry-00003", "emotional-sad-00002")
    for slot in slots:
        assert len({one[0][slot] for one in (first, second, third)}) == 3
    say(run, "keep", item, digests=digests)
    line.build(run.root)
    assert state(run) == first


def test_a_verdict_on_whatever_stands_there_goes_on_meaning_that_one(run, line):
    before = state(run)
    say(run, "strike", digests={})
    line.build(run.root)
    changed, begun = state(run), asked(line)
    line.build(run.root)
    assert (state(run), asked(line)) == (changed, begun)
    say(run, "keep", digests={})
    line.build(run.root)
    assert state(run) == before


def test_a_row_s_query_is_meant_by_the_row_too(run):
    say(run, "strike", [("neutral-00002-sad", "query")], digests={})
    assert list(struck_in_review(run)) == [standing_digests(run)["neutral-00002", "query"]]


def test_one_strike_is_enough_and_each_reviewer_takes_back_their_own(run):
    item = STRUCK[:1]
    say(run, "strike", item)
    say(run, "keep", item, reviewer="bob")
    assert list(struck_in_review(run).values()) == ["ada: too loud"]
    say(run, "strike", item, reviewer="bob", note="")
    assert list(struck_in_review(run).values()) == ["ada: too loud; bob"]
    say(run, "keep", item)
    assert list(struck_in_review(run).values()) == ["bob"]
    say(run, "keep", item, reviewer="bob")
    assert struck_in_review(run) == {}


def test_what_a_kill_tore_off_is_left_out_and_written_over(run):
    say(run, "strike")
    whole = run.reviews.read_bytes()
    run.reviews.write_bytes(whole[:-20])
    reviews = Reviews(run.reviews)
    assert len(reviews.verdicts) == len(STRUCK) - 1
    say(run, "strike", STRUCK[-1:])
    assert len(Reviews(run.reviews).verdicts) == len(STRUCK)
    assert reviews.refresh()
    assert len(reviews.verdicts) == len(STRUCK)


@pytest.mark.parametrize(
    ("line_of_file", "why"),
    [
        ("{}", "id: Field required"),
        ("nonsense", "Invalid JSON"),
        (
            '{"id":"a","role":"voice","digest":null,"reviewer":"a","verdict":"keep","at":"1"}',
            "role: Input should be 'query'",
        ),
    ],
)
def test_a_line_that_is_no_verdict_stops_the_build_with_a_sentence(run, line_of_file, why):
    say(run, "keep", STRUCK[:1])
    with run.reviews.open("a") as file:
        file.write(line_of_file + "\n")
    with pytest.raises(SympatheiaError, match=f"line 2 is no verdict: {why}.*Mend the line"):
        struck_in_review(run)
