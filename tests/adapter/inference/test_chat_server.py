"""The server that answers speech with speech, asked over HTTP."""

import io
import json
import math
import socket
import threading
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
import soundfile

from corpus.adapter.inference import chat_server
from corpus.adapter.inference.chat_server import MAX_BODY_BYTES, Shown, application
from corpus.adapter.inference.language_model import Sampling
from corpus.adapter.inference.replies import MEANINGS
from corpus.adapter.inference.speech_system import SpeechSystem
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.errors import InvalidInput, SympatheiaError
from corpus.sound.clip_audio import encode_wav
from tests.support.line import typed
from tests.support.served_system import SHORT, ask, body, parts_in, serving
from tests.support.voice_server import hum

pytestmark = pytest.mark.usefixtures("one_thread")

SAD = {"valence": -0.75, "arousal": -0.65}


@pytest.fixture(scope="module")
def parts(tiny, adapter):
    return parts_in(tiny, adapter)


@pytest.fixture(scope="module")
def system(parts):
    return SpeechSystem.from_pretrained(parts)


@pytest.fixture(scope="module")
def address(system, parts):
    with serving(application(system, Shown.of(parts, None))) as address:
        yield address


@pytest.fixture(scope="module")
def question():
    return hum({"input": "What is it like?"}, rate=16_000)


def refusal(address, asked):
    answer = ask(address, asked)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].endswith(".")
    return error["param"], error["message"]


def recording(*, rate=16_000, channels=1, seconds=1.0, kind="WAV", subtype=None):
    time = np.arange(round(rate * seconds)) / rate
    tone = 0.3 * np.sin(2 * np.pi * 220 * time)
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone] * channels, axis=1), rate, format=kind, subtype=subtype)
    return file.getvalue()


# What is answered


def test_openais_client_gets_the_words_and_the_sound_of_the_system(address, system, question):
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    answer = client.chat.completions.create(
        model=client.models.list().data[0].id,
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "wav"},
        messages=body(question)["messages"],
        max_tokens=SHORT,
        seed=7,
        extra_body={"affect": SAD},
    )
    expected = system.answer(question, (-0.75, -0.65), 7, Sampling(max_new_tokens=SHORT))
    (choice,) = answer.choices
    assert choice.message.content == choice.message.audio.transcript == expected.reply.text
    sound = b64decode(choice.message.audio.data)
    assert sound == encode_wav(expected.wave, expected.sampling_rate)
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert rate == 22_050
    assert answer.sympatheia["seconds"] == pytest.approx(len(samples) / rate, abs=1e-3)
    assert answer.sympatheia["prompt"] == expected.prompt
    assert answer.sympatheia["status"] == expected.reply.status in MEANINGS


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"affect": SAD}, "(valence=-0.75, arousal=-0.65)"),
        ({"affect": {"valence": 1, "arousal": 0}}, "(valence=1.00, arousal=0.00)"),
        ({"affect": None}, "N/A"),
        ({}, "N/A"),
    ],
)
def test_the_model_is_told_the_point_that_was_sent(address, question, fields, line):
    said = ask(address, body(question, max_tokens=1, **fields)).json()["sympatheia"]
    assert said["affect"] == fields.get("affect")
    assert said["prompt"].split("\n")[1] == f"Please respond in English. User emotion {line}"


def test_the_same_seed_says_the_same_and_another_something_else(address, question):
    said = [
        ask(address, body(question, seed=seed)).json()["choices"][0]["message"]["content"]
        for seed in (1, 1, 2)
    ]
    assert said[0] == said[1] != said[2]


def test_a_reply_that_was_cut_off_says_so(address, question):
    cut = ask(address, body(question, max_tokens=2)).json()
    whole = ask(address, body(question, max_completion_tokens=400, max_tokens=1)).json()
    assert cut["choices"][0]["finish_reason"] == "length"
    assert whole["choices"][0]["finish_reason"] == "stop"


def test_a_reply_without_sound_has_words_and_a_status(address, question):
    answer = ask(address, body(question, max_tokens=1, temperature=0)).json()
    assert answer["choices"][0]["message"]["audio"] is None
    assert answer["sympatheia"]["seconds"] is None
    assert answer["sympatheia"]["status"] == "no_stop"


@pytest.mark.parametrize(
    "form",
    [
        {"rate": 8_000},
        {"rate": 44_100, "channels": 2},
        {"kind": "FLAC"},
        {"kind": "MP3"},
        {"kind": "OGG", "subtype": "OPUS"},
    ],
    ids=str,
)
def test_a_recording_may_have_any_usual_form(address, form):
    kind = form.get("kind", "wav").lower()
    answer = ask(address, body(recording(**form), kind, max_tokens=1))
    assert answer.status_code == 200, answer.text


def test_it_says_what_it_is_and_that_its_weights_are_random(address, question):
    (model,) = httpx.get(f"{address}/v1/models").json()["data"]
    assert model["id"].startswith("base+adapter")
    assert model["random_weights"] is True
    answer = ask(address, body(question, max_tokens=1)).json()
    assert answer["model"] == model["id"]
    assert answer["sympatheia"]["random_weights"] is True
    anchors = httpx.get(f"{address}/v1/anchors").json()["anchors"]
    assert {"name": "sad", **SAD} in anchors
    assert httpx.get(f"{address}/health").json() == {"status": "ok"}


def test_a_corpus_lends_its_eval_queries_and_its_anchors(system, parts, whole):
    shown = Shown.of(parts, DatasetFolder(whole))
    with serving(application(system, shown)) as address:
        queries = httpx.get(f"{address}/v1/queries").json()["queries"]
        emotions = [query["emotion"] for query in queries]
        assert emotions[0] == "neutral"
        assert sorted(emotions[emotions.count("neutral") :]) == ["angry", "sad", "tired"]
        sound = httpx.get(f"{address}/v1/queries/{queries[-1]['id']}")
        assert sound.headers["content-type"] == "audio/flac"
        assert ask(address, body(sound.content, "flac", max_tokens=1)).status_code == 200
        assert httpx.get(f"{address}/v1/queries/none").status_code == 404


# What is refused


@pytest.mark.parametrize(
    ("change", "field", "named"),
    [
        ({"affect": {"valence": 1.5, "arousal": 0}}, "affect", "from -1 to 1"),
        ({"affect": {"valence": 0}}, "affect.arousal", "required"),
        ({"affect": {"valence": "sad", "arousal": 0}}, "affect.valence", "number"),
        ({"affect": SAD | {"mood": 1}}, "affect.mood", "unknown"),
        ({"mood": 1}, "mood", "allowed are messages"),
        ({"stream": True}, "stream", "False"),
        ({"seed": -1}, "seed", "0"),
        ({"max_tokens": 0}, "max_tokens", "1"),
        ({"messages": []}, "messages", "one input_audio part"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "messages.0.content", "reads no text"),
        ({"audio": {"voice": "x", "format": "mp3"}}, "audio.format", "wav"),
    ],
    ids=str,
)
def test_a_bad_field_is_refused_by_name(address, question, change, field, named):
    param, message = refusal(address, body(question, **change))
    assert param == field
    assert message.startswith(f"{field}: ")
    assert named in message


@pytest.mark.parametrize(
    ("sound", "named"),
    [
        ("data:audio/wav;base64,AAAA", "no base64"),
        (b"not a sound", "cannot be decoded"),
        (encode_wav(np.zeros(16_000, np.float32), 16_000), "silent"),
        (recording(rate=4_000, seconds=3_600, kind="FLAC"), "lasts 3,600 seconds"),
        (recording(rate=44_101), "44,101 samples"),
        (recording()[:-100], "truncated"),
        (b"", "cannot be decoded"),
    ],
    ids=["data-url", "text", "silence", "hour", "rate", "truncated", "empty"],
)
def test_what_is_no_question_is_refused_with_a_sentence(address, sound, named):
    assert named in refusal(address, body(sound))[1]


@pytest.mark.parametrize("asked", [b"{", b"[1]", b"\xff\xfe", b""])
def test_what_is_no_json_is_refused(address, asked):
    refusal(address, asked)


def test_a_point_that_is_no_number_is_refused(address, question):
    asked = json.dumps(body(question, affect={"valence": math.nan, "arousal": 0}))
    assert refusal(address, asked.encode())[1]


def raw(address, *pieces):
    """What the server sends back to some bytes."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while not answer.endswith(b"}") and (piece := connection.recv(65_536)):
            answer += piece
        return answer


def test_a_huge_body_is_refused_before_it_has_come(address):
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2**40}\r\n"
    answer = raw(address, head.encode() + b"\r\n", b" " * (MAX_BODY_BYTES + 1))
    assert answer.startswith(b"HTTP/1.1 413")
    assert str(MAX_BODY_BYTES).encode() in answer
    assert httpx.get(f"{address}/health").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Host": "rebound.example:8100"},
        {"Host": "192.0.2.1"},
        {"Host": "["},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "http://localhost:1"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_pages_of_other_sites_may_not_ask(address, question, headers):
    answer = ask(address, body(question), **headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["message"].endswith(".")
    assert httpx.get(address, headers=headers).status_code == 403


def test_its_own_page_may_ask_by_any_name_of_this_machine(address, question):
    port = address.rpartition(":")[2]
    for name in ("127.0.0.1", "localhost", "[::1]"):
        own = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}"}
        assert ask(address, body(question, max_tokens=1), **own).status_code == 200


def test_where_others_are_let_in_any_name_is_good(system, parts):
    with serving(application(system, Shown.of(parts, None), only_here=False)) as address:
        assert httpx.get(address, headers={"Host": "gpu3.example"}).status_code == 200


# What it withstands


def test_questions_together_are_answered_as_alone_and_the_server_stays_awake(address, question):
    asked = [body(question, seed=seed, max_tokens=120) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        coming = [pool.submit(ask, address, one) for one in asked]
        assert httpx.get(f"{address}/health").status_code == 200
        assert not all(one.done() for one in coming)
        together = [one.result().json()["choices"][0]["message"]["content"] for one in coming]
    alone = [ask(address, one).json()["choices"][0]["message"]["content"] for one in asked]
    assert together == alone


class Stub:
    """A system whose answers are what a test needs: an error, or a wait."""

    def __init__(self, error):
        self.error = error
        self.seeds = []
        self.began, self.may_end = threading.Event(), threading.Event()

    def answer(self, sound, affect, seed, sampling):
        self.seeds.append(seed)
        self.began.set()
        assert self.may_end.wait(60)
        raise self.error


def test_no_more_wait_than_there_is_room_for(parts, question, monkeypatch):
    monkeypatch.setattr(chat_server, "MOST_WAITING", 1)
    stub = Stub(SympatheiaError("The memory of cuda:0 is full."))
    with (
        serving(application(stub, Shown.of(parts, None))) as address,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(ask, address, body(question))
        assert stub.began.wait(60)
        second = ask(address, body(question))
        stub.may_end.set()
        assert (second.status_code, second.headers["retry-after"]) == (503, "60")
        assert first.result().status_code == 500
        # There is room again.
        assert ask(address, body(question)).status_code == 500


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SympatheiaError("The memory of cuda:0 is full."), "The memory of cuda:0 is full."),
        (InvalidInput("The clip is none."), "The clip is none."),
        (RuntimeError("CUDA error"), "The answer failed."),
    ],
)
def test_an_answer_that_fails_is_told_and_the_next_is_tried(parts, question, error, said):
    stub = Stub(error)
    stub.may_end.set()
    with serving(application(stub, Shown.of(parts, None))) as address:
        for _ in range(2):
            answer = ask(address, body(question))
            assert answer.status_code == 500
            assert answer.json()["error"]["message"].startswith(said)


def test_one_that_hangs_up_harms_nobody(address, question):
    content = json.dumps(body(question)).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}"
    )
    host, port = address.removeprefix("http://").split(":")
    for sent in (content[:1000], content):  # in the middle of the question, and after it
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n" + sent)
    assert b" 400 " in raw(address, b"nonsense\r\n\r\n")
    assert ask(address, body(question, max_tokens=1)).status_code == 200


def test_no_answer_is_made_for_one_that_is_gone(parts, question):
    stub = Stub(SympatheiaError("No."))
    with (
        serving(application(stub, Shown.of(parts, None))) as address,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(ask, address, body(question, seed=1))
        assert stub.began.wait(60)
        with pytest.raises(httpx.ReadTimeout):
            content, once = json.dumps(body(question, seed=2)), httpx.Timeout(60, read=1)
            httpx.post(f"{address}/v1/chat/completions", content=content, timeout=once)
        third = pool.submit(ask, address, body(question, seed=3))
        stub.may_end.set()
        assert first.result().status_code == third.result().status_code == 500
    assert stub.seeds == [1, 3]


# The command


def options(parts, base=None):
    return (
        *("--base", base or parts.base),
        *("--speech-tokenizer", parts.speech_tokenizer),
        *("--decoder", parts.decoder),
    )


def test_an_address_in_use_and_folders_without_what_they_should_have_are_named(parts, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = typed("serve", "adapter", *options(parts), "--port", port)
    assert done.returncode == 2
    assert str(port) in done.stderr
    done = typed("serve", "adapter", *options(parts), "--port", port, "--corpus", tmp_path)
    assert done.returncode == 2
    assert "is not a dataset folder" in done.stderr
    done = typed("serve", "adapter", *options(parts, tmp_path), "--port", port)
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
