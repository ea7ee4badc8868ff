"""One rule that refuses most of what a text server writes stops the build, with all one needs."""

import pytest

from corpus.errors import SympatheiaError
from corpus.run.stop_when_most_refused import MOST
from tests.support.line import rows, write_run
from tests.support.replies import completion, good_text, kind_of

IN_FLIGHT = 4
SETTINGS = (f"llm.concurrency={IN_FLIGHT}", "llm.max_attempts=30")


def stopped(tmp_path, recipe, *more):
    with pytest.raises(SympatheiaError) as error:
        write_run(tmp_path / "run", recipe, *SETTINGS, *more)
    return str(error.value)


def only(kind, reply):
    """Answers what asks for one kind of text in one way."""
    return lambda body, n: reply(good_text(body, kind)) if kind_of(body) == kind else None


LONG = " ".join(f"On day {n} I walked to shop number {n * 7}." for n in range(20))
THOUGHTS = {"reasoning_content": "I think so."}


def test_queries_that_a_rule_refuses_stop_it_with_rule_measures_texts_and_key(
    tmp_path, recipe, server
):
    server.behave = only("query", lambda text: completion("Yes, please."))
    said = stopped(tmp_path, recipe)
    assert MOST <= server.count <= MOST + IN_FLIGHT
    assert f"too_short refused {MOST} of the first {MOST} texts" in said
    assert "(they have 2 to 2 words, where 4 words is the least)" in said
    assert said.count('("Yes, please.")') == 2 and "read emotional-" in said
    assert 'text.rules.too_short (a number, false or "report")' in said
    assert "everything made is kept" in said

    # The server is mended, and nothing of what it answered is asked again.
    asked = {(str(body["messages"]), body["seed"]) for body in server.bodies}
    server.requests.clear()
    server.behave = lambda body, n: None
    run = write_run(tmp_path / "run", recipe, *SETTINGS)
    assert len(rows(run.queries)) == 15
    assert not asked & {(str(body["messages"]), body["seed"]) for body in server.bodies}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (lambda text: completion(LONG), "too_long refused 24 of the first 24 texts (they have"),
        (
            lambda text: completion("", **THOUGHTS),
            "nothing but in the field 'reasoning_content' of the message",
        ),
        (
            lambda text: completion(text, finish_reason="length"),
            "raise llm.responses.max_tokens, or set llm.responses.thinking = false",
        ),
        (lambda text: completion(""), "reasoning parser is that of its model"),
    ],
    ids=["a rule", "another field", "cut short", "empty"],
)
def test_responses_are_watched_apart_and_their_reasons_have_remedies(
    tmp_path, recipe, server, reply, words
):
    server.behave = only("response", reply)
    said = stopped(tmp_path, recipe)
    assert words in said
    responses = [body for body in server.bodies if kind_of(body) == "response"]
    assert MOST <= len(responses) <= MOST + IN_FLIGHT


def test_a_server_that_stays_as_it_is_is_stopped_again(tmp_path, recipe, server):
    server.behave = only("query", lambda text: completion("Yes, please."))
    stopped(tmp_path, recipe)
    before = server.count
    stopped(tmp_path, recipe)
    assert server.count - before <= MOST + IN_FLIGHT


def test_near_duplicates_stop_nothing(tmp_path, recipe, server):
    same = "Could you remind me to water the plants this evening?"
    server.behave = lambda body, n: completion(same) if kind_of(body) == "query" and n % 4 else None
    run = write_run(tmp_path / "run", recipe, *SETTINGS)
    assert sum(row["reason"] == "near_duplicate" for row in rows(run.rejects)) > MOST


def test_a_run_that_is_nearly_done_is_not_judged_by_what_it_finds_hard(tmp_path, recipe, server):
    size = ("emotional.pairs_per_anchor=20", "neutral.queries=0", f"llm.concurrency={IN_FLIGHT}")
    server.behave = lambda body, n: (
        completion("Yes, please.")
        if kind_of(body) == "query" and "sad" in body["messages"][-1]["content"]
        else None
    )
    for attempts in (1, 3):
        with pytest.raises(SympatheiaError, match=f"20 slots stayed empty after {attempts} att"):
            write_run(tmp_path / "run", recipe, *size, f"llm.max_attempts={attempts}")
