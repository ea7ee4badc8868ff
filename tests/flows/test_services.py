"""Servers that a run starts for itself: killed, they are started again where they were."""

import time
import urllib.request
from contextlib import suppress

import psutil
import pytest

from flows.services import child
from flows.services.text_servers import text_servers


def answers(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/models", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def servers():
    """The child processes of this one that serve texts."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # one that has just ended
            if {"flows.services", "text"} <= set(one.cmdline()):
                found.append(one)
    return found


@pytest.fixture
def through_no_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)


def test_a_text_server_that_is_killed_is_started_again(through_no_proxy, caplog):
    with text_servers(1) as (url,):
        (server,) = servers()
        server.kill()
        until(lambda: server not in servers() and answers(url))
        assert len(servers()) == 1
        told = [record.getMessage() for record in caplog.records]
        assert told == ["the text server of this run has ended (SIGKILL) and is started again"]
    assert servers() == []


def test_one_that_ends_again_and_again_is_given_up(monkeypatch, caplog):
    monkeypatch.setattr(child, "MOST_RESTARTS", 1)
    with text_servers(1) as (url,):
        for _ in range(2):
            until(servers)
            servers()[0].kill()
            until(lambda: not answers(url))
        until(lambda: "once more" in caplog.text)
        assert servers() == []
