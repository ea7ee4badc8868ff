import asyncio
import dataclasses
import json
import random

import httpx2
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
from corpus.servers.retry_and_failover import BadAnswer, Endpoints
from corpus.servers.server_errors import ErrorInBody, describe
from schemas.recipe import Sampling
from tests.support.fake_servers import FakeTextServer
from tests.support.mutations import mutated
from tests.support.replies import CONTENT, THINKING, Behave, good_text

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


def read(content: bytes) -> ChatAnswer:
    """The answer in the body of a response to `REQUEST`."""
    asked = httpx2.Request("POST", "http://server/v1/chat/completions", content=REQUEST.body())
    return read_answer(httpx2.Response(200, content=content, request=asked), REQUEST.max_tokens)


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
        ("Hello there.\n</think>", "Hello there."),
        ("thoughts</think>Hello.</think>\n</think> ", "Hello."),
        ("<think>one</think>", ""),
        ("<thinking>one</thinking>Hello.", "Hello."),
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


def body(**changes: object) -> bytes:
    """A good completion, in bytes, with some of its fields changed."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello there."}}
    reply = {"model": "fake", "choices": [choice | {"finish_reason": "stop"}]}
    reply["usage"] = {"prompt_tokens": 100, "completion_tokens": 60}
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = reply
        for parent in parents:
            place = place["choices"][0] if parent == "choice" else place[parent]
        place[last] = value
    return json.dumps(reply).encode()


@pytest.mark.parametrize("word", ["stop", "eos_token", "end", "end_turn", "STOP", None, ""])
def test_a_whole_answer_is_used_however_its_end_is_called(word: str | None) -> None:
    answer = read(body(choice__finish_reason=word))
    assert (answer.text, answer.finish_reason, problem(answer)) == ("Hello there.", "stop", None)


def test_an_answer_that_says_nothing_of_its_end_but_used_all_its_tokens_was_cut_off() -> None:
    usage = {"completion_tokens": REQUEST.max_tokens}
    assert problem(read(body(choice__finish_reason=None, usage=usage))) == "truncated"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("max_tokens", "truncated"),
        ("MODEL_LENGTH", "truncated"),
        ("abort", "abort"),
        ("content_filter", "content_filter"),
        ({"type": "stop"}, "unfinished"),
        ("\x1b[31mred\n" * 90, "[31mred " * 5),
    ],
)
def test_any_other_end_is_refused_by_its_name(word: object, reason: str) -> None:
    assert problem(read(body(choice__finish_reason=word))) == reason.strip()


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": "100", "completion_tokens": "60"}, 60),
        ({"completion_tokens": 60.0}, 60),
        ({"completion_tokens": "many"}, 0),
        ({"completion_tokens": None}, 0),
        ({"completion_tokens": -1}, 0),
        ({"completion_tokens": 10**30}, 0),
        ({"completion_tokens": [60]}, 0),
        ([60], 0),
        (None, 0),
    ],
)
def test_tokens_are_counted_as_far_as_they_are_told(usage: object, tokens: int) -> None:
    answer = read(body(usage=usage))
    assert answer.completion_tokens == tokens
    assert problem(answer) is None


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + body(),
        body().decode().encode("utf-16"),
        b"\n " + body(),
        body().replace(b'"model"', b'"logprob": NaN, "model"'),
    ],
)
def test_json_that_is_not_quite_json_is_read(content: bytes) -> None:
    assert read(content).text == "Hello there."


def test_content_in_parts_is_joined_without_the_thoughts() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "SECRET"}]},
        {"type": "text", "text": "Hello "},
        {"type": "output_text", "text": "there."},
    ]
    assert read(body(choice__message__content=parts)).text == "Hello there."


def test_half_a_character_is_kept_as_a_broken_one() -> None:
    answer = read(body(choice__message__content="Hi \ud83d there."))
    assert answer.text == "Hi \ufffd there."
    orjson.dumps(answer.to_dict())


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content", "refusal"])
def test_an_answer_in_a_field_where_none_belongs_is_refused_with_its_name(field: str) -> None:
    message = {"content": None, field: "the answer"}
    assert problem(read(body(choice__message=message))) == f"answer_in_{field}"
    assert problem(read(body(choice__message=message | {"content": "Hi."}))) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'data: {"choices": []}\n\ndata: [DONE]', r"a stream of events.*data: {"),
        (b"<html>\n<h1>Welcome\x1b[2J", r"not valid JSON: <html> <h1>Welcome \[2J"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff\xfe\xff", "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_a_body_that_is_no_json_is_quoted(content: bytes, words: str) -> None:
    with pytest.raises(BadAnswer, match=words):
        read(content)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"error": {"message": "No such model.", "code": 404}}, 404),
        ({"error": {"message": "No such model.", "code": "404"}}, 404),
        ({"object": "error", "message": "No such model.", "code": 400}, 400),
        ({"error": {"message": "No such model.", "code": "model_not_found"}}, 404),
        ({"error": {"message": "No such model.", "type": "rate_limit_error"}}, 429),
        ({"error": "No such model.", "status": 503}, 503),
    ],
)
def test_an_error_sent_as_an_answer_is_taken_for_what_it_says(error: object, status: int) -> None:
    with pytest.raises(ErrorInBody) as raised:
        read(json.dumps(error).encode())
    assert raised.value.status_code == status
    assert "No such model." in describe(raised.value, timeout=1)


@pytest.mark.parametrize("error", [{"message": "internal"}, "internal", {"detail": "internal"}])
def test_an_error_sent_as_an_answer_that_does_not_say_which_may_pass(error: object) -> None:
    with pytest.raises(BadAnswer, match="an error as HTTP 200: internal"):
        read(json.dumps({"error": error}).encode())


def test_no_body_whatever_ends_in_anything_but_an_answer_or_words() -> None:
    chance = random.Random(7)
    answers = 0
    for _ in range(1500):
        try:
            answer = read(mutated(body(), chance))
        except (BadAnswer, ErrorInBody) as error:
            assert describe(error, timeout=1).isprintable()
        else:
            answers += 1
            again = ChatAnswer.from_dict(orjson.loads(orjson.dumps(answer.to_dict())))
            assert again == answer
            assert problem(answer) is None or problem(answer).isprintable()
    assert 300 < answers < 1400


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
        b'{"choices": [{"message": {"content": {"text": "a"}}}]}',
        b'{"choices": [{"message": {"content": false}}]}',
    ],
)
def test_what_is_not_a_completion_is_a_bad_answer(content: bytes) -> None:
    with pytest.raises(BadAnswer, match="not a chat completion"):
        read(content)


def test_usage_may_be_missing() -> None:
    content = b'{"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]}'
    assert read(content) == ChatAnswer("Hi.", "stop", 0, 0, "")
