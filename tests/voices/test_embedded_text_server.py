"""The embedded text server as `sympatheia serve text` runs it: the real model and server."""

import socket
import time

import openai
import pytest

from corpus.voices.embedded_text_server import MODEL_NAME
from tests.support.line import start, sympatheia

REQUEST = {
    "model": MODEL_NAME,
    "messages": [{"role": "user", "content": "What should I cook tonight?"}],
    "temperature": 0.7,
    "top_p": 0.95,
    "max_tokens": 24,
    "seed": 5,
    "extra_body": {"cache_prompt": False, "top_k": 40, "min_p": 0.05},
}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def ask(client, **changes) -> str:
    return client.chat.completions.create(**REQUEST | changes).choices[0].message.content


def wait_until_up(client) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert [model.id for model in client.models.list()] == [MODEL_NAME]
            return
        except (openai.APIConnectionError, openai.InternalServerError):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_an_answer_is_the_same_after_others_and_after_a_restart(tmp_path):
    answers = []
    for _ in range(2):
        port = free_port()
        server = start("serve", "text", "--port", port, log=tmp_path / "log")
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
        try:
            wait_until_up(client)
            answers.append(ask(client))
            assert ask(client, seed=6) != answers[0]
            answers.append(ask(client))
        finally:
            server.terminate()
            assert server.wait(timeout=30) == 0
    assert answers[0]
    assert len(set(answers)) == 1


def test_a_port_that_is_taken_is_refused_with_the_remedy():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = sympatheia("serve", "text", "--port", taken.getsockname()[1])
    assert ran.returncode == 2
    assert "choose another --port" in ran.stderr


@pytest.mark.parametrize("threads", ["0", "many"])
def test_a_wrong_number_of_threads_is_refused(threads):
    assert sympatheia("serve", "text", "--threads", threads).returncode == 2
