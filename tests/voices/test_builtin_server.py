"""The voice server, really started and asked over HTTP."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import openai
import psutil
import pytest

from corpus.errors import InvalidInput
from corpus.sound.clip_audio import encode_flac, encode_wav
from corpus.voices.builtin_server import MAX_BODY_BYTES, serve
from corpus.voices.builtin_synthesis import MODEL_NAME, SPEAKERS, Voice
from tests.support.clips import problem

TEXT = "Could you help me plan a simple dinner?"
ORDER = {"input": TEXT, "voice": "wren", "valence": -0.75, "arousal": -0.65, "seed": 7}


def start(log):
    """A server on a free port, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = f"from corpus.voices.builtin_server import serve; serve(port={port}, workers=2)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=log, stderr=log)
    return process, f"http://127.0.0.1:{port}"


def wait_until_ready(process, address, log_path):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log_path.read_text()
        try:
            if get(address + "/health") == {"status": "ok"}:
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError("the server did not start: " + log_path.read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    log_path = tmp_path_factory.mktemp("voice") / "server.log"
    with log_path.open("w") as log:
        process, address = start(log)
    try:
        wait_until_ready(process, address, log_path)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def get(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return json.load(answer)


def post(server, body):
    """Status and body of a speech request; the body is JSON unless it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server + "/v1/audio/speech", data)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers["content-type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read()


def refusal(server, body):
    status, kind, answer = post(server, body)
    assert (status, kind) == (400, "application/json")
    error = json.loads(answer)["error"]
    assert error["type"] == "invalid_request_error"
    return error["param"], error["message"]


@pytest.fixture(scope="module")
def expected():
    order = {name: value for name, value in ORDER.items() if name not in ("input", "voice")}
    return Voice().speak(TEXT, speaker="wren", **order)


def test_gives_the_voice_s_own_clip_to_the_byte(server, expected):
    assert post(server, ORDER) == (200, "audio/flac", encode_flac(expected))
    assert post(server, ORDER | {"response_format": "wav"}) == (
        200,
        "audio/wav",
        encode_wav(expected),
    )


def test_every_worker_gives_the_same_bytes_and_the_server_stays_awake(server, expected):
    async def many():
        clips = [asyncio.to_thread(post, server, ORDER) for _ in range(8)]
        speaking = asyncio.gather(*clips)
        asked = time.monotonic()
        await asyncio.to_thread(get, server + "/health")
        return time.monotonic() - asked, await speaking

    waited, answers = asyncio.run(many())
    assert {answer[2] for answer in answers} == {encode_flac(expected)}
    assert waited < 1.0


def test_the_openai_client_can_use_it(server, expected):
    client = openai.OpenAI(base_url=server + "/v1", api_key="none", max_retries=0)
    clip = client.audio.speech.create(
        model=MODEL_NAME,
        input=TEXT,
        voice="wren",
        response_format="flac",
        instructions="Very sad.",
        extra_body={name: ORDER[name] for name in ("valence", "arousal", "seed")},
    )
    assert clip.content == encode_flac(expected)


def test_without_style_it_reads_plainly(server):
    status, _, clip = post(server, {"input": TEXT, "voice": "heron"})
    assert status == 200
    assert problem(clip, len(TEXT.split())) is None


def test_lists_its_model_and_voices(server):
    (model,) = get(server + "/v1/models")["data"]
    assert (model["id"], model["voices"]) == (MODEL_NAME, list(SPEAKERS))


@pytest.mark.parametrize(
    ("change", "field", "named"),
    [
        ({"voice": "ryan"}, "voice", "wren, heron"),
        ({"model": "tts-1"}, "model", MODEL_NAME),
        ({"response_format": "mp3"}, "response_format", "'flac' or 'wav'"),
        ({"language": "German"}, "language", "English"),
        ({"speed": 1.5}, "speed", "allowed are input, voice"),
        ({"valence": 1.5}, "valence", "less than or equal to 1"),
        ({"arousal": "high"}, "arousal", "number"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"seed": 1.5}, "seed", "integer"),
        ({"input": ""}, "input", "no word"),
        ({"input": "Hello 👋"}, "input", "U+1F44B"),
        ({"input": None}, "input", "string"),
        ({"valence": None}, "valence", "both valence and arousal"),
    ],
)
def test_a_bad_field_is_refused_by_name_with_what_is_allowed(server, change, field, named):
    param, message = refusal(server, ORDER | change)
    assert param == field
    assert message.startswith(f"{field}: ")
    assert named in message


def test_style_words_without_a_point_are_refused(server):
    body = {"input": TEXT, "voice": "wren", "instructions": "Very sad."}
    param, message = refusal(server, body)
    assert param == "valence"
    assert "takes a point of the plane and not words" in message


def test_a_missing_field_and_broken_json_are_refused(server):
    assert refusal(server, {"voice": "wren"})[0] == "input"
    assert "JSON" in refusal(server, b'{"input": ')[1]
    assert "object" in refusal(server, [1, 2])[1]


def test_a_huge_body_is_refused_without_reading_it_all(server):
    status, _, answer = post(server, b" " * (MAX_BODY_BYTES + 1))
    assert status == 413
    assert str(MAX_BODY_BYTES) in json.loads(answer)["error"]["message"]


def test_unknown_addresses_and_methods_are_answered_in_json(server):
    host = server.removeprefix("http://")
    for method, path, status in (("GET", "/v1/audio/speech", 405), ("GET", "/nothing", 404)):
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request(method, path)
        answer = connection.getresponse()
        assert answer.status == status
        assert "message" in json.load(answer)["error"]
        connection.close()


def speaking_processes(process):
    return [
        child
        for child in psutil.Process(process.pid).children()
        if "spawn_main" in " ".join(child.cmdline())
    ]


def test_it_survives_a_dead_worker_and_leaves_none_behind_when_killed(tmp_path):
    log_path = tmp_path / "server.log"
    with log_path.open("w") as log:
        process, address = start(log)
    try:
        wait_until_ready(process, address, log_path)
        for child in speaking_processes(process):
            os.kill(child.pid, signal.SIGKILL)
        answers = [post(address, ORDER) for _ in range(3)]
        assert answers[-1][0] == 200
        assert {answer[0] for answer in answers} <= {200, 503}
        workers = speaking_processes(process)
        assert workers
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def test_an_address_in_use_is_named():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(InvalidInput, match=str(taken.getsockname()[1])),
    ):
        serve(port=taken.getsockname()[1])
