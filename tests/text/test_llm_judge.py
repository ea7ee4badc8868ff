"""The judge: whom it asks, what it refuses, and that its verdict is final."""

import orjson
import pytest

from corpus.errors import SympatheiaError
from corpus.servers.chat_requests import ChatAnswer
from corpus.text.assessment.llm_judge import read_grades
from tests.support.line import rows, texts_of, write_run
from tests.support.replies import completion, seed_of

JUDGE = ('llm.judge.model="strict"', "llm.judge.threshold=3")


def grading(grade):
    """A server whose model `strict` answers with what `grade` makes of the request."""
    return lambda body, n: completion(grade(body)) if body["model"] == "strict" else None


def grades(empathy, answer, speakability):
    return orjson.dumps(
        {"empathy": empathy, "answer": answer, "speakability": speakability}
    ).decode()


def judged(server):
    return [body for body in server.bodies if body["model"] == "strict"]


def test_every_pair_is_graded_once_with_its_own_words_and_the_grades_are_on_file(
    tmp_path, recipe, server
):
    server.behave = grading(lambda body: grades(5, 3, 4))
    run = write_run(tmp_path / "run", recipe, *JUDGE)
    kept = rows(run.responses)
    assert {(row["empathy"], row["answer"], row["speakability"]) for row in kept} == {(5, 3, 4)}
    asked = [body["messages"][-1]["content"] for body in judged(server)]
    queries = {row["query_id"]: row["text"] for row in rows(run.queries)}
    assert len(asked) == len(kept)
    for row in kept:
        assert any(f'"{row["text"]}"' in a and f'"{queries[row["query_id"]]}"' in a for a in asked)
    assert all(body["response_format"]["type"] == "json_schema" for body in judged(server))
    count = server.count
    write_run(tmp_path / "run", recipe, *JUDGE)
    assert server.count == count


def test_a_grade_below_the_threshold_refuses_the_pair_by_name(tmp_path, recipe, server):
    def grade(body):
        named = ("empathy", "answer", "speakability")
        low = seed_of(body) % 6
        return orjson.dumps({name: 2 if low == n else 3 for n, name in enumerate(named)}).decode()

    server.behave = grading(grade)
    run = write_run(tmp_path / "run", recipe, *JUDGE)
    reasons = {row["reason"] for row in rows(run.rejects) if row["stage"] == "responses"}
    assert {"judge_empathy", "judge_answer", "judge_speakability"} & reasons
    kept = rows(run.responses)
    assert min(min(row["empathy"], row["answer"], row["speakability"]) for row in kept) >= 3
    assert len(kept) == 3 * 4 + 3 * 3
    server.requests.clear()
    other = write_run(tmp_path / "other", recipe, *JUDGE, "llm.concurrency=1")
    assert texts_of(other) == texts_of(run)
    assert other.rejects.read_bytes() == run.rejects.read_bytes()


def test_a_judge_that_never_grades_ends_in_a_sentence(tmp_path, recipe, server):
    server.behave = grading(lambda body: "I would say this is rather good.")
    with pytest.raises(SympatheiaError, match=r"stayed empty after 1 attempts.*judge_unreadable 1"):
        write_run(tmp_path / "run", recipe, *JUDGE, "llm.max_attempts=1")
    with pytest.raises(SympatheiaError, match=r"unreadable refused.*See that llm\.judge\.model"):
        write_run(tmp_path / "run", recipe, *JUDGE, "llm.max_attempts=9")


def test_without_a_judge_nothing_is_graded(tmp_path, recipe, server):
    run = write_run(tmp_path / "run", recipe)
    assert {row["empathy"] for row in rows(run.responses)} == {None}


@pytest.mark.parametrize(
    ("text", "empathy"),
    [
        (grades(1, 5, 5), 1),
        ("```json\n" + grades(4, 5, 5) + "\n```", 4),
        (grades(6, 5, 5), None),
        (grades(0, 5, 5), None),
        ('{"empathy": 3, "answer": 3}', None),
        ('{"empathy": 3, "answer": 3, "speakability": "high"}', None),
        ("", None),
        ("} {", None),
    ],
)
def test_only_whole_grades_from_1_to_5_count(text, empathy):
    found = read_grades(ChatAnswer(text, "stop", 1, 1, "strict"))
    assert (found and found.empathy) == empathy
