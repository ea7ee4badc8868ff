"""Addresses, keys, proxies and certificates, as people and their machines give them."""

import asyncio
import logging
import random
from contextlib import suppress

import httpx2
import pytest

from corpus.errors import InvalidInput, SympatheiaError, in_words
from corpus.servers import proxies
from corpus.servers.chat_requests import complete
from corpus.servers.proxies import is_local, proxy_for
from corpus.servers.retry_and_failover import Endpoints, EndpointsFailed
from schemas.recipe_values import require_base_address
from tests.servers.test_retry_and_failover import ask, request, unused_url, with_pool
from tests.support.fake_servers import FakeTextServer
from tests.support.replies import redirect, status

KEY = "TEST_TEXT_KEY"
NOWHERE = "http://127.0.0.1:9"

# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1?x=1",
        "http://127.0.0.1:8000/v1#x",
        "http://h:99999/v1",
        "http://h:port/v1",
        "http://ex ample/v1",
        "http://h/v1\n",
        "http:///v1",
        "http:h/v1",
        "h:8000/v1",
        "ftp://h/v1",
        "http://::1:8000/v1",
        "http://256.1.1.1/v1",
        "http://a\\b/v1",
        "http://a..b/v1",
        f"http://{'a' * 70}/v1",
        "",
    ],
)
def test_an_address_that_cannot_be_asked_is_refused_with_the_setting(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"llm\.endpoints: .*address"):
        Endpoints([url])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "https://[::1]:8000/v1/",
        "http://GPU-1.lan",
        "http://b\u00fccher/v1",
    ],
)
def test_an_address_that_can_be_asked_is_left_as_it_is(url: str) -> None:
    assert require_base_address(url) == url
    Endpoints([url])


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidInput, match="api_key_env") as raised:
        Endpoints(["http://me:secret@127.0.0.1:8000/v1"])
    assert "secret" not in in_words(raised.value)


# Redirects


@pytest.mark.parametrize("code", [301, 302, 303])
def test_a_redirect_that_loses_the_request_is_named_with_its_target(code: int) -> None:
    target = "https://new.example/v1/chat/completions?token=sk-1"
    with FakeTextServer(behave=lambda body, n: redirect(code, target)) as server:
        with pytest.raises(EndpointsFailed) as raised:
            ask(server.base_url)
        assert len(server.requests) == 1
    said = str(raised.value)
    assert f"HTTP {code} to https://new.example/v1/chat/completions)" in said
    assert "llm.endpoints" in said
    assert "sk-1" not in said


@pytest.mark.parametrize("code", [307, 308])
def test_a_redirect_that_keeps_the_request_is_followed(code: int) -> None:
    with FakeTextServer() as new:
        target = f"{new.base_url}/chat/completions"
        with FakeTextServer(behave=lambda body, n: redirect(code, target)) as old:
            ask(old.base_url)
        assert new.bodies == old.bodies


# Keys


@pytest.mark.parametrize("key", ["sk-1\n", "sk-1\r", " sk-1 \r\n"])
def test_space_around_a_key_is_left_out(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, key)
    with FakeTextServer() as server:
        ask(server.base_url, api_key_env=KEY)
        assert [received.authorization for received in server.requests] == ["Bearer sk-1"]


@pytest.mark.parametrize("key", ["Basic bWU6c2VjcmV0", "Bearer sk-1"])
def test_a_key_with_its_scheme_is_sent_as_it_is_and_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, key)
    secret = key.split()[1]
    with FakeTextServer(behave=lambda body, n: status(500, f"no {secret}")) as server:
        with pytest.raises(EndpointsFailed, match=r"no \*\*\*'"):
            ask(server.base_url, api_key_env=KEY, patience_seconds=0)
        assert {received.authorization for received in server.requests} == {key}


@pytest.mark.parametrize("key", ["sk\u20131", "sk\n-1", "sk-1\x7f", "sk-\u00e9"])
def test_a_key_that_cannot_be_one_names_its_variable_and_is_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, key)
    with pytest.raises(InvalidInput, match=rf"{KEY} \(speech\.api_key_env\)") as raised:
        Endpoints([NOWHERE], api_key_env=KEY, section="speech")
    assert key not in str(raised.value)


def test_a_key_of_nothing_but_space_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, " \n")
    with pytest.raises(InvalidInput, match=f"{KEY}, which is not set"):
        Endpoints([NOWHERE], api_key_env=KEY)


@pytest.mark.parametrize("name", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"])
def test_what_the_library_would_send_beside_it_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "X-Team: \u2013")
    with pytest.raises(InvalidInput, match=f"{name} holds what cannot be sent"):
        ask(unused_url())


# Proxies


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("voice.localhost", True),
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("example", False),
    ],
)
def test_this_machine_is_known_by_its_names(host: str, local: bool) -> None:
    assert is_local(host) is local


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_proxy", NOWHERE),
        ("HTTP_PROXY", NOWHERE),
        ("ALL_PROXY", "socks://127.0.0.1:7891/"),
        ("ALL_PROXY", "socks5h://127.0.0.1:7891/"),
        ("ALL_PROXY", "http://[broken"),
        ("SSL_CERT_FILE", "/gone/cacert.pem"),
        ("SSL_CERT_DIR", "/gone"),
    ],
)
@pytest.mark.parametrize("no_proxy", ["", "127.0.0.1, <broken>, ::1/999"])
def test_a_server_on_this_machine_is_asked_directly_whatever_the_environment_says(
    name: str, value: str, no_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("no_proxy", no_proxy)
    with FakeTextServer() as server:
        ask(server.base_url, patience_seconds=0)
        assert server.answered == 1


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_server_elsewhere_is_asked_through_the_proxy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeTextServer() as proxy:
        monkeypatch.setenv(name, f"127.0.0.1:{proxy.port}")
        ask("http://model.example/v1")
        assert proxy.answered == 1


@pytest.mark.parametrize(
    "no_proxy",
    ["model.example", ".example", "other, example", "*", "model.example:80", "10.0.0.0/8, example"],
)
def test_no_proxy_is_heeded(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", NOWHERE)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(httpx2.URL("http://model.example:80/v1")) is None
    assert (proxy_for(httpx2.URL("http://model.test/v1")) is None) is (no_proxy == "*")


@pytest.mark.parametrize(
    ("host", "direct"), [("10.1.2.3", True), ("11.1.2.3", False), ("[fd00::7]", True)]
)
def test_no_proxy_may_name_networks(
    host: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", NOWHERE)
    monkeypatch.setenv("no_proxy", "10.0.0.0/8,[fd00::7]")
    assert (proxy_for(httpx2.URL(f"http://{host}/v1")) is None) is direct


@pytest.mark.parametrize(
    ("value", "words"),
    [("socks://127.0.0.1:7891/", "its kind is 'socks'"), ("http://[broken", "it has to begin")],
)
@pytest.mark.parametrize("aside", [False, True])
def test_a_proxy_that_cannot_be_used_is_named_where_it_is_needed(
    value: str, words: str, aside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    if aside:
        proxies.set_aside_unusable()
        httpx2.Client().close()  # which would refuse to be made
    with pytest.raises(InvalidInput, match=f"ALL_PROXY .*model.example.*{words}.*no_proxy"):
        ask("http://model.example/v1")


def test_proxies_that_can_be_used_stay_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    proxies.set_aside_unusable()
    assert proxies.given()["HTTP_PROXY"] == "http://proxy:3128"
    assert proxy_for(httpx2.URL("http://model.example")) is not None


def test_a_failure_on_the_way_through_a_proxy_names_its_variable_and_no_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeTextServer(behave=lambda body, n: status(502, "no secret-word")) as proxy:
        for url, words in (
            (f"http://me:secret-word@127.0.0.1:{proxy.port}", r"HTTP 502: no \*\*\*"),
            (f"http://me:secret-word@{unused_url()[7:-3]}", "connection refused"),
        ):
            monkeypatch.setenv("HTTP_PROXY", url)
            said = f"{words}, through the proxy of HTTP_PROXY"
            with pytest.raises(EndpointsFailed, match=said) as raised:
                ask("http://model.example/v1", patience_seconds=0)
            assert "secret-word" not in str(raised.value) + caplog.text


# Certificates


def test_certificates_that_are_gone_are_named_where_they_are_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/gone/cacert.pem")
    with pytest.raises(InvalidInput, match=r"SSL_CERT_FILE names /gone/cacert\.pem"):
        ask("https://127.0.0.1:9/v1")
    with pytest.raises(InvalidInput, match="SSL_CERT_FILE"):
        proxies.require_way("https://hub.example")
    proxies.require_way("http://hub.example")


def test_a_server_that_speaks_no_tls_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTextServer() as server, pytest.raises(EndpointsFailed, match="no secure connection"):
        ask(server.base_url.replace("http://", "https://"), patience_seconds=0)


# All together


def test_no_address_whatever_ends_in_anything_but_an_answer_or_a_sentence() -> None:
    chance = random.Random(11)
    signs = "ab0:/@?#[]%.\\ \u00e9\u3002\u200b\ud800-_~*{}|^<>\"'\x00"
    for _ in range(400):
        url = list("http://127.0.0.1:9/v1")
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(url))
            url[at : at + chance.randrange(2)] = chance.choice(signs)

        async def job(pool: Endpoints) -> None:
            async with asyncio.timeout(0.05):
                await complete(pool, request(), "it")

        with suppress(SympatheiaError, TimeoutError):
            with_pool(Endpoints(["".join(url)], patience_seconds=0), job)
