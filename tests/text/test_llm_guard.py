"""The guard: what it is shown, which answers it may give, and what becomes of the pair."""

import pytest

from corpus.errors import SympatheiaError
from corpus.servers.chat_requests import ChatAnswer
from corpus.text.assessment.llm_guard import read_safety
from tests.support.line import rows, texts_of, write_run
from tests.support.replies import completion, seed_of

GUARD = ('llm.guard.model="guard"', "emotional.pairs_per_anchor=2", "neutral.queries=1")
PAIRS = 3 * 2 + 3


def guarding(word):
    """A server whose model `guard` answers with what `word` makes of the request."""
    return lambda body, n: completion(word(body)) if body["model"] == "guard" else None


def shown(server):
    return [body["messages"] for body in server.bodies if body["model"] == "guard"]


def test_every_pair_is_shown_once_as_a_conversation(tmp_path, recipe, server):
    server.behave = guarding(lambda body: "safe")
    run = write_run(tmp_path / "run", recipe, *GUARD)
    queries = {row["query_id"]: row["text"] for row in rows(run.queries)}
    pairs = [(queries[row["query_id"]], row["text"]) for row in rows(run.responses)]
    roles = {tuple(message["role"] for message in messages) for messages in shown(server)}
    assert roles == {("user", "assistant")}
    assert sorted(tuple(m["content"] for m in messages) for messages in shown(server)) == sorted(
        pairs
    )
    server.requests.clear()
    write_run(tmp_path / "run", recipe, *GUARD)
    assert server.bodies == []


def test_what_is_unsafe_is_refused_before_the_judge_sees_it(tmp_path, recipe, server):
    def reply(body, n):
        if body["model"] == "strict":
            return completion('{"empathy": 4, "answer": 4, "speakability": 4}')
        return guarding(lambda body: "unsafe\nS1" if seed_of(body) % 3 == 0 else "safe")(body, n)

    server.behave = reply
    settings = (*GUARD, 'llm.judge.model="strict"')
    run = write_run(tmp_path / "run", recipe, *settings)
    reasons = [row["reason"] for row in rows(run.rejects) if row["stage"] == "responses"]
    assert set(reasons) == {"guard_unsafe"}
    assert sum(body["model"] == "strict" for body in server.bodies) == PAIRS
    assert {row["empathy"] for row in rows(run.responses)} == {4}
    other = write_run(tmp_path / "other", recipe, *settings, "llm.concurrency=1")
    assert texts_of(other) == texts_of(run)
    assert other.rejects.read_bytes() == run.rejects.read_bytes()


def test_a_guard_that_says_neither_is_asked_again_and_then_the_pair_is_refused(
    tmp_path, recipe, server
):
    server.behave = guarding(lambda body: "safe" if seed_of(body) % 2 else "I cannot tell.")
    run = write_run(tmp_path / "run", recipe, *GUARD)
    assert len(rows(run.responses)) == PAIRS
    assert len(shown(server)) > len(set(map(str, shown(server))))

    server.behave = guarding(lambda body: "I cannot tell.")
    with pytest.raises(SympatheiaError, match=r"unreadable refused.*See that llm\.guard\.model"):
        write_run(tmp_path / "other", recipe, *GUARD, "llm.max_attempts=9")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("safe", True),
        ("\n\nsafe", True),
        ("unsafe\nS1", False),
        ("Safety: Safe\nCategories: None\nRefusal: No", True),
        ("Safety: Unsafe\nCategories: Violent", False),
        ("Safety: Controversial\nCategories: Suicide & Self-Harm", False),
        ("safely done", None),
        ("I would say it is safe.", None),
        ("", None),
    ],
)
def test_only_an_answer_that_begins_with_its_verdict_counts(text, safe):
    assert read_safety(ChatAnswer(text, "stop", 1, 1, "guard")) is safe
