"""Dialogues, as the text stage writes them: one turn after the other, many side by side."""

import asyncio
import json
from collections import Counter, defaultdict

import pytest

from corpus.errors import InvalidInput, SympatheiaError
from corpus.servers.retry_and_failover import EndpointsFailed
from tests.support.fake_servers import FakeTextServer
from tests.support.line import rows, texts_of, write_recipe, write_run
from tests.support.replies import completion, kind_of, last_user_message, sometimes, status

SOME = (
    "emotional.pairs_per_anchor=0",
    "neutral.queries=1",
    "dialogue.dialogues=12",
    "dialogue.turns=[2, 3]",
    "anchors=['angry', 'frustrated', 'relaxed', 'sad', 'content']",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory, dialogue_server):
    """A run in which every now and then a text is bad, and all that was asked for it."""
    folder = tmp_path_factory.mktemp("written")
    dialogue_server.behave = sometimes(["short", "markdown"], 0.2)
    run = write_run(folder / "run", folder.parent / "dialogues.toml", *SOME)
    return run, list(dialogue_server.bodies)


@pytest.fixture(scope="module")
def dialogue_server(tmp_path_factory):
    with FakeTextServer() as server:
        write_recipe(tmp_path_factory.getbasetemp() / "dialogues.toml", server.base_url)
        yield server


@pytest.fixture
def recipe(tmp_path_factory, dialogue_server):
    dialogue_server.behave = sometimes(["short", "markdown"], 0.2)
    dialogue_server.requests.clear()
    return tmp_path_factory.getbasetemp() / "dialogues.toml"


def turns_of(run):
    """Text of query and of response of every turn, by dialogue."""
    responses = {row["id"]: row["text"] for row in rows(run.responses)}
    said = defaultdict(list)
    for row in rows(run.queries):
        if row["subset"] == "dialogue":
            said[row["query_id"][:-3]].append((row["text"], responses[row["query_id"]]))
    return said


def test_each_turn_is_asked_for_with_all_that_was_said_and_with_nothing_that_was_refused(written):
    run, bodies = written
    prompts = {last_user_message(body) for body in bodies}
    refused = {row["text"] for row in rows(run.rejects) if row["text"]}
    said = turns_of(run)
    assert len(said) == 12
    assert {len(turns) for turns in said.values()} == {2, 3}
    for turns in said.values():
        for number, (query, response) in enumerate(turns):
            before = [text for exchange in turns[:number] for text in exchange]
            asked = [p for p in prompts if all(text in p for text in (*before, query))]
            assert asked, f"no response was asked for to {query}"
            if number:
                assert any(all(text in p for text in before) for p in prompts)
            assert not any(text in p for p in asked for text in refused if text != response)


def test_a_refused_turn_is_asked_again_and_named_and_costs_none_before_it(written):
    run, bodies = written
    stages = {(row["stage"], row["slot"][-2:]) for row in rows(run.rejects)}
    assert ("queries", "02") in stages
    assert ("responses", "02") in stages
    asked = [json.dumps([body["messages"], body["seed"]]) for body in bodies]
    assert len(asked) == len(set(asked))
    turns = len([row for row in rows(run.queries) if row["subset"] == "dialogue"])
    neutral = 1 + len(("angry", "frustrated", "relaxed", "sad", "content"))
    assert len(asked) == 2 * turns + neutral + len(rows(run.rejects))


def test_all_turns_of_a_dialogue_have_its_topic_and_split(written):
    run, _ = written
    facts = defaultdict(set)
    for row in rows(run.queries):
        if row["subset"] == "dialogue":
            facts[row["query_id"][:-3]].add((row["topic"], row["split"]))
    assert {len(found) for found in facts.values()} == {1}


def test_the_order_of_arrival_leaves_no_trace_and_a_repeat_asks_nothing(
    written, recipe, dialogue_server, tmp_path
):
    run, _ = written
    one = write_run(tmp_path / "one", recipe, *SOME, "llm.concurrency=1")
    assert texts_of(one) == texts_of(run)
    assert one.rejects.read_bytes() == run.rejects.read_bytes()
    dialogue_server.requests.clear()
    write_run(one.root, recipe, *SOME)
    assert dialogue_server.bodies == []


def exchanges_before(body):
    """How many a request tells of."""
    said = last_user_message(body)
    return said.count("\nAssistant: ") + said.count("\nYou: ")


FORTY = (*SOME[:2], "dialogue.dialogues=40", "dialogue.turns=[3, 3]", SOME[4])


def test_a_server_that_fails_in_the_third_exchange_holds_up_nobody_else(
    recipe, dialogue_server, tmp_path
):
    async def once_all_are_that_far(request):
        while sum(exchanges_before(body) == 2 for body in dialogue_server.bodies) < 40:
            await asyncio.sleep(0.02)
        return status(401, "out of order")

    dialogue_server.behave = lambda body, number: (
        once_all_are_that_far if exchanges_before(body) == 2 else None
    )
    with pytest.raises(EndpointsFailed):
        write_run(tmp_path / "run", recipe, *FORTY, "llm.concurrency=64", "llm.timeout_seconds=60")
    dialogue_server.behave = lambda body, number: None
    dialogue_server.requests.clear()
    run = write_run(tmp_path / "run", recipe, *FORTY)
    assert {exchanges_before(body) for body in dialogue_server.bodies} == {2}
    assert {len(turns) for turns in turns_of(run).values()} == {3}


def test_failures_in_the_third_exchange_have_nothing_before_it_asked_again(
    recipe, dialogue_server, tmp_path
):
    failed = 0

    def in_the_third(body, number):
        nonlocal failed
        if exchanges_before(body) == 2 and failed < 12:
            failed += 1
            return status(500)
        return None

    dialogue_server.behave = in_the_third
    run = write_run(tmp_path / "run", recipe, *FORTY)
    assert failed == 12
    asked = Counter(
        json.dumps([body["messages"], body["seed"]])
        for body in dialogue_server.bodies
        if exchanges_before(body) < 2
    )
    assert set(asked.values()) == {1}
    assert {len(turns) for turns in turns_of(run).values()} == {3}


def test_more_dialogues_ask_nothing_of_those_that_stand(written, recipe, dialogue_server, tmp_path):
    run, _ = written
    more = (*SOME[:2], "dialogue.dialogues=15", *SOME[3:])
    few = write_run(tmp_path / "run", recipe, *SOME)
    dialogue_server.requests.clear()
    grown = write_run(few.root, recipe, *more)
    said = turns_of(grown)
    assert {name: said[name] for name in turns_of(run)} == turns_of(run)
    new = sum(len(turns) for name, turns in said.items() if name not in turns_of(run))
    assert dialogue_server.count >= 2 * new
    before = {text for turns in turns_of(run).values() for turn in turns for text in turn}
    assert not any(
        text in last_user_message(body) for body in dialogue_server.bodies for text in before
    )


def test_a_turn_is_annotated_with_what_was_said_before_it(
    written, recipe, dialogue_server, tmp_path
):
    dialogue_server.behave = lambda body, number: None
    run = write_run(tmp_path / "run", recipe, *SOME, "annotate.empathy=true")
    asked = [last_user_message(b) for b in dialogue_server.bodies if kind_of(b) == "annotation"]
    assert len(asked) == len(rows(run.annotations)) == len(rows(run.responses))
    for turns in turns_of(run).values():
        texts = [text for exchange in turns for text in exchange]
        for number in range(1, len(turns) + 1):
            told = texts[: 2 * number]
            assert any(
                all(text in prompt for text in told)
                and not any(text in prompt for text in texts[2 * number :])
                for prompt in asked
            )


def test_guard_and_judge_are_shown_what_was_said_before(written, recipe, dialogue_server, tmp_path):
    def reply(body, number):
        if body["model"] == "guard":
            return completion("safe")
        if body["model"] == "strict":
            return completion('{"empathy": 4, "answer": 4, "speakability": 4}')
        return None

    dialogue_server.behave = reply
    graded = ('llm.guard.model="guard"', 'llm.judge.model="strict"')
    run = write_run(tmp_path / "run", recipe, *SOME, *graded)
    guarded = [b["messages"] for b in dialogue_server.bodies if b["model"] == "guard"]
    judged = [last_user_message(b) for b in dialogue_server.bodies if b["model"] == "strict"]
    shown = [[message["content"] for message in messages] for messages in guarded]
    for turns in turns_of(run).values():
        texts = [text for exchange in turns for text in exchange]
        for number in range(1, len(turns) + 1):
            assert texts[: 2 * number] in shown
            assert any(all(f'"{text}"' in p for text in texts[: 2 * number]) for p in judged)


def test_a_text_that_stayed_empty_is_counted_with_its_cell(recipe, dialogue_server, tmp_path):
    dialogue_server.behave = lambda body, number: (
        completion("No.") if exchanges_before(body) == 1 else None
    )
    with pytest.raises(SympatheiaError, match=r"attempts each \(dialogue-[a-z]+: \d+, dialogue-"):
        write_run(tmp_path / "run", recipe, *FORTY, "llm.max_attempts=2")


def test_queries_alone_cannot_be_had(recipe, tmp_path):
    with pytest.raises(InvalidInput, match="Build until responses"):
        write_run(tmp_path / "run", recipe, *SOME, with_responses=False)
