"""The pool against real servers that misbehave; tests of what one request lives through."""

import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import httpx2
import openai
import pytest

from corpus.errors import InvalidInput
from corpus.servers import load_balancing, retry_and_failover
from corpus.servers.chat_requests import ChatRequest, complete
from corpus.servers.retry_and_failover import BadAnswer, Endpoints, EndpointsFailed
from corpus.servers.server_errors import retry_after
from tests.support.fake_servers import FakeTextServer
from tests.support.replies import TRANSPORT, Body, Reply, error_as_200, first, status

KEY = "sk-test-7f3a9c"


def request(n: int = 0) -> ChatRequest:
    messages = [{"role": "user", "content": f"Say something about number {n}."}]
    return ChatRequest("fake", messages, 0.8, 0.95, 64, n, thinking=False)


def unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def with_pool(pool: Endpoints, job: Callable[[Endpoints], Awaitable[object]]) -> None:
    async def run() -> None:
        async with pool:
            await job(pool)

    asyncio.run(run())


def ask(*urls: str, n: int = 0, **settings: object) -> None:
    """One request through a pool of its own."""
    with_pool(
        Endpoints(urls, **settings),  # type: ignore[arg-type]
        lambda pool: complete(pool, request(n), f"query-{n:05d}, attempt 0"),
    )


@pytest.mark.parametrize("name", TRANSPORT)
def test_failures_that_pass_are_retried(name: str) -> None:
    with FakeTextServer(behave=first(2, TRANSPORT[name])) as server:
        ask(server.base_url, timeout_seconds=0.5)
        assert len(server.requests) == 3
        assert server.bodies[0] == server.bodies[2]


@pytest.mark.parametrize("code", [408, 409, 502])
def test_statuses_that_pass_are_retried(code: int) -> None:
    with FakeTextServer(behave=first(1, lambda: status(code))) as server:
        ask(server.base_url)
        assert len(server.requests) == 2


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured(code: int) -> None:
    with FakeTextServer(behave=first(1, lambda: status(code, retry_after=1.5))) as server:
        ask(server.base_url)
        early, late = (received.at for received in server.requests)
        assert 1.45 < late - early < 3.5


def test_retry_after_reads_seconds_and_dates() -> None:
    assert retry_after(httpx2.Headers({"Retry-After": "2.5"})) == 2.5
    in_a_minute = formatdate(time.time() + 60, usegmt=True)
    assert 55 < retry_after(httpx2.Headers({"Retry-After": in_a_minute})) <= 60
    odd = ("soon", "-3", "nan", "Mon, 99 Foo 2026", "Fri, 31 Dec 9999 23:59:59 -2359")
    for nothing in ({}, *({"Retry-After": words} for words in odd[:4])):
        assert retry_after(httpx2.Headers(nothing)) == 0


def test_while_one_server_pauses_another_takes_over() -> None:
    with (
        FakeTextServer(behave=lambda body, n: status(429, retry_after=60)) as busy,
        FakeTextServer() as idle,
    ):
        began = time.monotonic()
        ask(busy.base_url, idle.base_url)
        assert (len(busy.requests), len(idle.requests)) == (1, 1)
        assert time.monotonic() - began < 5


def test_gives_up_with_a_sentence_after_four_tries_and_the_patience() -> None:
    with FakeTextServer(behave=lambda body, n: status(500, "out of memory " * 50)) as server:
        began = time.monotonic()
        with pytest.raises(EndpointsFailed) as raised:
            ask(server.base_url, n=17, patience_seconds=1.5)
        assert time.monotonic() - began >= 1.5
        assert len(server.requests) >= 4
    message = str(raised.value)
    assert "query-00017, attempt 0" in message
    assert server.base_url in message
    assert "'HTTP 500: out of memory out of memory" in message
    assert "run the same command again; nothing done is lost" in message
    assert len(message) < 600


def test_however_impatient_a_request_is_tried_four_times() -> None:
    with FakeTextServer(behave=first(3, lambda: status(429))) as server:
        ask(server.base_url, patience_seconds=0)
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hang", "no answer within 0.3 s"),
        ("close", "the server closed the connection"),
        ("break_off", "the answer broke off"),
        ("truncated_json", "the answer is not valid JSON"),
        ("no_choices", "an error as HTTP 200: internal"),
        ("503", "HTTP 503: loading the model"),
    ],
)
def test_the_last_failure_is_named(name: str, words: str) -> None:
    with (
        FakeTextServer(behave=lambda body, n: TRANSPORT[name]()) as server,
        pytest.raises(EndpointsFailed, match=words),
    ):
        ask(server.base_url, patience_seconds=0, timeout_seconds=0.3)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(EndpointsFailed, match=r"tries failed over .* 'connection refused'"):
        ask(unused_url(), patience_seconds=0)
    with pytest.raises(EndpointsFailed, match="name or service not known"):
        ask("http://no-such-host.invalid/v1", patience_seconds=0)


def test_a_caller_may_call_an_answer_bad() -> None:
    tries = 0

    async def send(client: openai.AsyncOpenAI) -> bytes:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise BadAnswer("not a sound file")
        return (await client.get("/models", cast_to=httpx2.Response)).content

    with FakeTextServer() as server:
        with_pool(Endpoints([server.base_url]), lambda pool: pool.call(send, "a clip"))
        assert tries == 3


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_stops_at_once_and_is_never_shown(
    code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TEST_TEXT_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    echo = status(code, "x" * 190 + f" Incorrect key {KEY} given: Bearer {KEY}")
    with FakeTextServer(behave=lambda body, n: echo) as server:
        with pytest.raises(EndpointsFailed) as raised:
            ask(server.base_url, api_key_env="TEST_TEXT_KEY")
        assert [received.authorization for received in server.requests] == [f"Bearer {KEY}"]
    assert "TEST_TEXT_KEY (llm.api_key_env)" in str(raised.value)
    for text in (str(raised.value), caplog.text):
        assert KEY not in text
        assert KEY[:6] not in text


def test_a_missing_key_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        FakeTextServer(behave=lambda body, n: status(401)) as server,
        pytest.raises(EndpointsFailed, match=r"Set speech\.api_key_env to the name"),
    ):
        ask(server.base_url, section="speech")
    monkeypatch.delenv("TEST_TEXT_KEY", raising=False)
    with pytest.raises(InvalidInput, match="TEST_TEXT_KEY, which is not set"):
        Endpoints([server.base_url], api_key_env="TEST_TEXT_KEY")


def test_an_unknown_model_stops_at_once_and_names_the_known() -> None:
    with FakeTextServer(
        behave=lambda body, n: status(404, "no such model"), models=("Qwen/Qwen3-32B", "other")
    ) as server:
        with pytest.raises(EndpointsFailed) as raised:
            ask(server.base_url)
        assert len(server.requests) == 1
    message = str(raised.value)
    assert "does not serve the model 'fake' (HTTP 404: no such model)" in message
    assert "it serves 'Qwen/Qwen3-32B', 'other'" in message
    assert "llm.model" in message


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_refused_request_stops_at_once_with_the_servers_message(code: int) -> None:
    with FakeTextServer(behave=lambda body, n: status(code, "max_tokens is too large")) as server:
        with pytest.raises(EndpointsFailed, match=rf"HTTP {code}: max_tokens is too large"):
            ask(server.base_url)
        assert len(server.requests) == 1


def test_cancelling_is_prompt_in_flight_and_in_line() -> None:
    with FakeTextServer(behave=lambda body, n: TRANSPORT["hang"]()) as server:

        async def job(pool: Endpoints) -> None:
            tasks = [asyncio.create_task(complete(pool, request(n), "it")) for n in range(3)]
            await asyncio.sleep(0.3)
            assert [state.in_flight for state in pool.snapshot()] == [1]
            began = time.monotonic()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            assert time.monotonic() - began < 0.3
            assert [state.in_flight for state in pool.snapshot()] == [0]

        with_pool(Endpoints([server.base_url], concurrency=1), job)


def test_check_returns_when_a_server_answers_whatever_it_says() -> None:
    with FakeTextServer(models_status=500) as server:
        with_pool(Endpoints([server.base_url]), Endpoints.check)
        with_pool(Endpoints([unused_url(), server.base_url]), Endpoints.check)


def test_check_waits_for_a_server_that_is_starting() -> None:
    server = FakeTextServer().start()
    server.stop()

    async def job(pool: Endpoints) -> None:
        checking = asyncio.create_task(pool.check())
        await asyncio.sleep(0.5)
        assert not checking.done()
        server.start()
        await checking

    with_pool(Endpoints([server.base_url]), job)
    server.stop()


def test_check_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_and_failover, "FIRST_ANSWER_SECONDS", 0.5)
    url = unused_url()
    with pytest.raises(EndpointsFailed, match=rf"No server answers at {url} \(connection refused"):
        with_pool(Endpoints([url]), Endpoints.check)
    with (
        FakeTextServer(models_status=401) as server,
        pytest.raises(EndpointsFailed, match=r"refused access \(HTTP 401\)\. Set llm\.api_key_env"),
    ):
        with_pool(Endpoints([server.base_url]), Endpoints.check)


def test_a_server_that_asks_for_longer_than_the_patience_is_told_of_and_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def busy(body: Body, n: int) -> Reply:
        return status(429, "come back tomorrow", retry_after=53_578)

    with FakeTextServer(behave=busy) as server:
        began = time.monotonic()
        with pytest.raises(EndpointsFailed, match=r"tomorrow; it asks .* alone for 53,578 s"):
            ask(server.base_url, patience_seconds=1)
        assert 1 <= time.monotonic() - began < 10
        assert len(server.requests) == 1
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "53,578 s" in told
    assert "patience is 1 s (llm.patience_seconds)" in told


def test_a_pause_within_the_patience_is_waited_for_and_no_longer_than_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_balancing, "LONGEST_PAUSE", 0.5)
    with FakeTextServer(behave=lambda body, n: status(503, retry_after=53_578)) as server:
        with pytest.raises(EndpointsFailed):
            ask(server.base_url, patience_seconds=1.2)
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ("The model x does not exist.", 404, "does not serve the model 'fake'"),
        ("Bad key.", "invalid_api_key", "refused access"),
        ("max_tokens is too large", 400, "error 400 as HTTP 200: max_tokens"),
    ],
)
def test_an_error_sent_as_an_answer_that_no_retry_mends_stops_at_once(
    message: str, code: object, words: str
) -> None:
    with FakeTextServer(behave=lambda body, n: error_as_200(message, code=code)) as server:
        with pytest.raises(EndpointsFailed, match=words):
            ask(server.base_url)
        assert len(server.requests) == 1


def test_an_error_sent_as_an_answer_that_may_pass_is_retried() -> None:
    with FakeTextServer(behave=first(2, lambda: error_as_200("busy", code=429))) as server:
        ask(server.base_url)
        assert len(server.requests) == 3


def test_who_starts_the_servers_says_what_to_do_when_they_fail() -> None:
    with pytest.raises(EndpointsFailed, match=r"'\. Free some memory and run the same command"):
        ask(unused_url(), patience_seconds=0, remedy="Free some memory")


def test_clients_are_closed_on_leaving() -> None:
    clients: list[openai.AsyncOpenAI] = []

    async def send(client: openai.AsyncOpenAI) -> None:
        clients.append(client)

    with FakeTextServer() as server:
        with_pool(Endpoints([server.base_url]), lambda pool: pool.call(send, "nothing"))
    assert clients[0].is_closed()


def test_the_client_finds_httpx_whole_or_not_at_all() -> None:
    # It asks sys.modules for httpx at every request; half loaded by another thread, it failed.
    check = "import sys, corpus.servers.retry_and_failover; sys.modules['httpx'].TimeoutException"
    subprocess.run([sys.executable, "-c", check], check=True)
