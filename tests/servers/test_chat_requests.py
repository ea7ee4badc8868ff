import asyncio
import dataclasses
import json

import orjson
import pytest

from corpus.servers.chat_requests import (
    ChatAnswer,
    ChatRequest,
    complete,
    problem,
    read_answer,
    without_thinking,
)
from corpus.servers.endpoint_pool import BadAnswer, Endpoints
from schemas.recipe import Sampling
from tests.support.fake_servers import FakeTextServer
from tests.support.replies import CONTENT, THINKING, Behave, completion, good_text

REQUEST = ChatRequest(
    model="fake",
    messages=({"role": "system", "content": "Be kind."}, {"role": "user", "content": "Ask."}),
    temperature=0.85,
    top_p=0.95,
    max_tokens=128,
    seed=7,
    thinking=False,
    extra={"top_k": 20, "min_p": 0.0},
)


def answer_to(request: ChatRequest, behave: Behave = lambda body, n: None) -> ChatAnswer:
    async def run(url: str) -> ChatAnswer:
        async with Endpoints([url]) as pool:
            answer = await complete(pool, request, "a query")
            assert pool.snapshot()[0].completion_tokens == answer.completion_tokens
            return answer

    with FakeTextServer(behave=behave) as server:
        return asyncio.run(run(server.base_url))


def test_what_is_sent() -> None:
    with FakeTextServer() as server:

        async def run() -> None:
            async with Endpoints([server.base_url]) as pool:
                await complete(pool, dataclasses.replace(REQUEST, thinking=True), "a query")

        asyncio.run(run())
        assert server.bodies == [
            {
                "model": "fake",
                "messages": list(REQUEST.messages),
                "temperature": 0.85,
                "top_p": 0.95,
                "max_tokens": 128,
                "seed": 7,
                "top_k": 20,
                "min_p": 0.0,
                "chat_template_kwargs": {"enable_thinking": True},
            }
        ]
        assert server.requests[0].authorization == "Bearer none"


def test_what_comes_back() -> None:
    answer = answer_to(REQUEST)
    assert answer.text == good_text(orjson.loads(REQUEST.body()), "query")
    assert (answer.finish_reason, answer.model, answer.prompt_tokens) == ("stop", "fake", 7)
    assert answer.completion_tokens == len(answer.text.split())
    assert problem(answer) is None


def test_an_answer_survives_being_stored() -> None:
    answer = ChatAnswer("Grüße, 今天.", "stop", 7, 3, "fake")
    assert ChatAnswer.from_dict(json.loads(json.dumps(answer.to_dict()))) == answer


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"messages": ({"role": "user", "content": "Ask."},)},
        {"temperature": 0.7},
        {"top_p": 1.0},
        {"max_tokens": 129},
        {"seed": 8},
        {"thinking": True},
        {"extra": {"top_k": 20}},
        {"extra": {"top_k": 21, "min_p": 0.0}},
    ],
)
def test_whatever_shapes_the_answer_changes_the_digest(change: dict[str, object]) -> None:
    changed = dataclasses.replace(REQUEST, **change)  # type: ignore[arg-type]
    assert changed.digest() != REQUEST.digest()


def test_the_digest_is_the_same_for_the_same_request() -> None:
    # A store on disk rests on this value: should it change, everything paid for is lost.
    assert REQUEST.digest() == "c2c66c4d02696ca18c15f4cf4767ffc40fca667fae13ca222ad725cbeb0458b6"
    same = dataclasses.replace(
        REQUEST,
        messages=[dict(reversed(message.items())) for message in REQUEST.messages],
        extra={"min_p": 0.0, "top_k": 20},
    )
    assert same.digest() == REQUEST.digest()
    whole = dataclasses.replace(REQUEST, temperature=1)
    assert whole.digest() == dataclasses.replace(REQUEST, temperature=1.0).digest()


def test_a_request_takes_its_sampling_from_the_recipe() -> None:
    sampling = Sampling(
        temperature=0.85, top_p=0.95, max_tokens=128, thinking=False, extra=dict(REQUEST.extra)
    )
    assert ChatRequest.sampled("fake", REQUEST.messages, sampling, 7) == REQUEST


@pytest.mark.parametrize("name", THINKING)
def test_thinking_is_never_part_of_the_text(name: str) -> None:
    good = good_text(orjson.loads(REQUEST.body()), "query")
    answer = answer_to(REQUEST, lambda body, n: THINKING[name](good))
    assert answer.text == good
    assert "SECRET" not in json.dumps(answer.to_dict())
    assert problem(answer) is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Hello there.", "Hello there."),
        ("<think>\n\n</think>\n\nHello.", "Hello."),
        ("thoughts without a beginning</think>Hello.", "Hello."),
        ("<think>one</think>Hmm.<think>two</think> Hello. ", "Hello."),
        ("<think>and on and on", ""),
        ("<think>one</think>Hello.<think>two", ""),
        ("  \n ", ""),
    ],
)
def test_the_text_is_what_follows_the_thinking(content: str, text: str) -> None:
    assert without_thinking(content) == text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("null", "empty"),
        ("empty", "empty"),
        ("endless_thinking", "truncated"),
        ("length", "truncated"),
        ("content_filter", "content_filter"),
    ],
)
def test_answers_that_are_no_use_say_why(name: str, expected: str) -> None:
    answer = answer_to(REQUEST, lambda body, n: CONTENT[name]("A good text."))
    assert problem(answer) == expected
    if name != "length":
        assert answer.text == "" or name == "content_filter"


def test_an_answer_that_does_not_say_how_it_ended_is_no_use() -> None:
    answer = answer_to(REQUEST, lambda body, n: completion("Hello.", finish_reason=None))
    assert problem(answer) == "unfinished"


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b"[]",
        b"null",
        b'"text"',
        b'{"choices": []}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": ["a", "b"]}}]}',
        b'{"choices": [{"message": {"content": "a"}}], "usage": 3}',
        b'{"error": {"message": "internal"}}',
    ],
)
def test_what_is_not_a_completion_is_a_bad_answer(content: bytes) -> None:
    with pytest.raises(BadAnswer, match="not a chat completion"):
        read_answer(content)


def test_usage_may_be_missing() -> None:
    content = b'{"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]}'
    assert read_answer(content) == ChatAnswer("Hi.", "stop", 0, 0, "")
