"""Texts beside the point are refused while a run is written, whatever the order they come in."""

import re

import pytest

from corpus.errors import SympatheiaError
from corpus.servers.retry_and_failover import EndpointsFailed
from corpus.store.line_log import read_log
from corpus.store.opening import open_store
from tests.support.line import rows, texts_of, write_run
from tests.support.replies import completion, kind_of, last_user_message, seed_of, status

SIZE = ('anchors=["sad", "angry"]', "neutral.queries=1", "emotional.pairs_per_anchor=3")
ON = (*SIZE, "text.rules.off_topic=0.3")
OFF = (*SIZE, "text.rules.off_topic=false")
BESIDE = "The printer in the hallway wants new paper, and a blue folder is on top of it."


def answer(body, n):
    """Speaks of what it is asked about, unless the seed of the request has it speak beside it."""
    seed = seed_of(body)
    if seed % 3 == 0:
        return completion(f"{BESIDE} There are {seed % 997} sheets of it.")
    asked = last_user_message(body)
    if kind_of(body) == "query":
        topic = asked.rpartition("The topic: ")[2]
        return completion(f"I want to know about {topic}, shall I begin at {seed % 97}?")
    found = re.search(r"know about (.*), shall", asked)
    about = found[1] if found else "the printer in the hallway"
    return completion(f"You asked me about {about}. Begin with {about} at {seed % 89} today.")


@pytest.fixture
def server(server):
    server.behave = answer
    return server


def keys(server):
    return [(str(body["messages"]), body["seed"]) for body in server.bodies]


def embedded(run):
    with open_store(run.store) as store:
        return len(store.embeddings)


def test_what_is_beside_the_point_is_refused_by_name_and_nothing_else_is(tmp_path, recipe, server):
    run = write_run(tmp_path / "run", recipe, *ON)
    assert len(texts_of(run)) == 7 + 8
    assert not [text for text in texts_of(run).values() if BESIDE in text]
    refused = [row for row in rows(run.rejects) if row["reason"] != "near_duplicate"]
    assert {row["stage"] for row in refused} == {"queries", "responses"}
    assert all((row["reason"] == "off_topic") == (BESIDE in row["text"]) for row in refused)
    assert len(set(keys(server))) == server.count


def test_the_order_of_arrival_leaves_no_trace(tmp_path, recipe, server):
    one = write_run(tmp_path / "one", recipe, *ON, "llm.concurrency=1")
    many = write_run(tmp_path / "many", recipe, *ON, "llm.concurrency=32")
    for name in ("queries", "responses", "rejects"):
        assert getattr(one, name).read_bytes() == getattr(many, name).read_bytes(), name
    assert read_log(one.decisions) == read_log(many.decisions)


def test_a_run_that_breaks_off_goes_on_without_asking_again(tmp_path, recipe, server):
    whole = write_run(tmp_path / "whole", recipe, *ON)
    asked = server.count
    server.requests.clear()
    server.behave = lambda body, n: answer(body, n) if n - asked < 9 else status(401, "no more")
    with pytest.raises(EndpointsFailed):
        write_run(tmp_path / "run", recipe, *ON, "llm.concurrency=2")
    answered = set(keys(server)[:9])
    server.behave = answer
    server.requests.clear()
    run = write_run(tmp_path / "run", recipe, *ON, "llm.concurrency=2")
    assert not answered & set(keys(server))
    assert texts_of(run) == texts_of(whole)
    assert run.rejects.read_bytes() == whole.rejects.read_bytes()


def test_turned_on_in_a_finished_run_it_changes_what_breaks_it_alone(tmp_path, recipe, server):
    run = write_run(tmp_path / "run", recipe, *OFF)
    before, paid = texts_of(run), set(keys(server))
    beside = {slot for slot, text in before.items() if BESIDE in text}
    assert beside
    server.requests.clear()
    write_run(tmp_path / "run", recipe, *ON)
    after = texts_of(run)
    assert not paid & set(keys(server))
    assert not [text for text in after.values() if BESIDE in text]
    changed = {slot for slot in before if after[slot] != before[slot]}
    assert changed >= beside
    queries = {slot for slot in beside if not slot.startswith("response")}
    assert all(slot in beside or any(query in slot for query in queries) for slot in changed)
    server.requests.clear()
    write_run(tmp_path / "run", recipe, *ON)
    assert (texts_of(run), server.bodies) == (after, [])


def test_each_text_is_embedded_once_and_only_where_it_is_compared(tmp_path, recipe, server):
    server.behave = lambda body, n: None
    off = write_run(tmp_path / "off", recipe, *OFF)
    queries, responses = rows(off.queries), rows(off.responses)
    neutral = [row for row in responses if row["query_id"].startswith("neutral")]
    assert embedded(off) == len(queries) + len(neutral)
    on = write_run(tmp_path / "on", recipe, *SIZE, 'text.rules.off_topic="report"')
    topics = {row["topic"] for row in rows(on.queries)}
    assert embedded(on) == len(queries) + len(responses) + len(topics)
    assert texts_of(on) == texts_of(off)


def test_a_server_that_always_speaks_beside_the_point_is_stopped(tmp_path, recipe, server):
    server.behave = lambda body, n: completion(f"{BESIDE} There are {seed_of(body)} sheets of it.")
    with pytest.raises(SympatheiaError, match=r"off_topic refused 24 of the first .*cosine is the"):
        write_run(tmp_path / "run", recipe, *ON, "emotional.pairs_per_anchor=30")
