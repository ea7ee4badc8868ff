"""The best of several responses: which is kept, whatever the order, and what that costs."""

import pytest

from corpus.embedding.embedder import Embedder
from corpus.plan.blueprint import Blueprint
from corpus.servers.retry_and_failover import EndpointsFailed
from corpus.text.responses import response_request
from tests.support.line import rows, texts_of, write_run
from tests.support.replies import kind_of, sometimes, status

THREE = ("llm.responses.candidates=3", "emotional.pairs_per_anchor=2", "neutral.queries=1")
PAIRS = 3 * 2 + 3


def responses_asked(server):
    asked = [body for body in server.bodies if kind_of(body) == "response"]
    return [(str(body["messages"]), body["seed"]) for body in asked]


def test_the_closest_of_three_is_kept_and_the_others_are_refused_as_not_best(
    tmp_path, recipe, server
):
    run = write_run(tmp_path / "run", recipe, *THREE)
    queries = {row["query_id"]: row["text"] for row in rows(run.queries)}
    others = [row for row in rows(run.rejects) if row["reason"] == "not_best"]
    assert len(rows(run.responses)) == PAIRS
    assert len(others) == 2 * PAIRS
    assert len(set(responses_asked(server))) == len(responses_asked(server)) == 3 * PAIRS
    embedder = Embedder("sentence-transformers/all-MiniLM-L6-v2")
    for kept in rows(run.responses):
        losers = [row["text"] for row in others if row["slot"] == kept["id"]]
        query, best, *rest = embedder.encode([queries[kept["query_id"]], kept["text"], *losers])
        assert all(query @ best >= query @ other for other in rest)


def test_a_bad_attempt_is_no_candidate_and_few_attempts_are_enough_for_the_best_of_them(
    tmp_path, recipe, server
):
    server.behave = sometimes(["short"], 0.3)
    run = write_run(tmp_path / "run", recipe, *THREE, "llm.max_attempts=8")
    tried = {row["id"]: 1 for row in rows(run.responses)}
    good = dict(tried)
    for row in rows(run.rejects):
        if row["stage"] == "responses":
            tried[row["slot"]] += 1
            good[row["slot"]] += row["reason"] == "not_best"
    assert any(tried[slot] > good[slot] for slot in tried)
    assert all(good[slot] == 3 or tried[slot] == 8 for slot in tried)


def test_the_order_of_arrival_leaves_no_trace(tmp_path, recipe, server):
    server.behave = sometimes(["short", "500"], 0.3)
    one = write_run(tmp_path / "one", recipe, *THREE, "llm.concurrency=1")
    many = write_run(tmp_path / "many", recipe, *THREE, "llm.concurrency=32")
    assert one.responses.read_bytes() == many.responses.read_bytes()
    assert one.rejects.read_bytes() == many.rejects.read_bytes()


def test_a_run_that_breaks_off_goes_on_without_asking_again(tmp_path, recipe, server):
    whole = write_run(tmp_path / "whole", recipe, *THREE)
    asked = server.count
    server.requests.clear()
    server.behave = lambda body, n: None if n - asked < 20 else status(401, "no more")
    with pytest.raises(EndpointsFailed):
        write_run(tmp_path / "run", recipe, *THREE, "llm.concurrency=2")
    answered = set(responses_asked(server)[: 20 - 7])
    server.behave = lambda body, n: None
    server.requests.clear()
    run = write_run(tmp_path / "run", recipe, *THREE, "llm.concurrency=2")
    assert not answered & set(responses_asked(server))
    assert texts_of(run) == texts_of(whole)
    assert run.rejects.read_bytes() == whole.rejects.read_bytes()
    server.requests.clear()
    write_run(tmp_path / "run", recipe, *THREE)
    assert server.bodies == []


def test_what_stands_is_not_made_anew_for_more_candidates(tmp_path, recipe, server):
    run = write_run(tmp_path / "run", recipe, *THREE[1:])
    before = texts_of(run)
    server.requests.clear()
    write_run(tmp_path / "run", recipe, *THREE)
    assert (texts_of(run), server.bodies) == (before, [])


def test_how_many_there_are_changes_no_request():
    def digest(*settings):
        blueprint = Blueprint.named("demo", settings)
        return response_request(blueprint, next(blueprint.plan.pairs()), "Where is it?", 0).digest()

    assert digest("llm.responses.candidates=3") == digest()
