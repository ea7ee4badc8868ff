"""What a voice's server may answer, in the place of a clip and in a batch."""

import asyncio
import io
import json
import logging
import random
from base64 import b64encode

import numpy as np
import pytest
import soundfile
from aiohttp import web
from tenacity import wait_none

from corpus.errors import SympatheiaError
from corpus.servers import retry_and_failover
from corpus.servers.retry_and_failover import Endpoints, EndpointsFailed
from corpus.sound.clip_audio import encode_wav
from corpus.speech import served_voice
from corpus.speech.clip_requests import Clip, ClipRequest
from corpus.speech.served_voice import ServedVoice
from schemas.audio import SAMPLE_RATE
from tests.speech.test_speech_stage import SpeechServer
from tests.support.clips import problem_of
from tests.support.line import opened
from tests.support.mutations import broken, mutated


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(retry_and_failover, "WAIT", wait_none())
    monkeypatch.setattr(served_voice, "COLLECTING_SECONDS", 0.001)


class Saying(SpeechServer):
    """Answers what it is told to: `alone` where a clip is asked for, `together` for a batch."""

    alone = b""
    together = b""
    asked = 0

    async def _speech(self, request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(body=self.alone, content_type="audio/wav")

    async def _together(self, request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(body=self.together, content_type="application/json")


@pytest.fixture(scope="module")
def server():
    with Saying(np.zeros(1)) as server:
        yield server


@pytest.fixture(scope="module")
def sound():
    """A second that passes for speech, and is quickly judged."""
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    swelling = np.sin(2 * np.pi * 3 * seconds) ** 4
    return (0.3 * swelling * np.sin(2 * np.pi * 150 * seconds)).astype(np.float32)


def ask(server, batch=1, clips=1, **settings) -> list[Clip]:
    """So many clips, asked for at once, with no patience."""

    async def run() -> list[Clip]:
        async with Endpoints([server.url], patience_seconds=0, section="speech", **settings) as up:
            voice = ServedVoice("Voice", opened(up), clips, batch)
            requests = [
                ClipRequest("Voice", "wren", f"Say {n}.", "English", n, -23.0, style="Calm.")
                for n in range(clips)
            ]
            return await asyncio.gather(*(voice.speak(request, "a clip") for request in requests))

    server.asked = 0
    return asyncio.run(run())


def problem(clip: Clip) -> str | None:
    return problem_of(clip.measures, words=2)


def error(message="The model x does not exist.", **fields) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


def batch(*results) -> bytes:
    return json.dumps({"results": results}).encode()


def test_a_clip_is_a_clip(server, sound):
    server.alone = encode_wav(sound)
    (clip,) = ask(server)
    assert problem(clip) is None


@pytest.mark.parametrize("code", [404, "404", "model_not_found"])
def test_an_error_that_no_retry_mends_ends_the_run_with_its_message_at_once(server, code):
    server.alone = error(code=code)
    with pytest.raises(EndpointsFailed, match=r"The model x does not exist\..*speech\.model"):
        ask(server)
    assert server.asked == 1


@pytest.mark.parametrize("fields", [{}, {"code": None}, {"code": 503}, {"code": "No such."}])
def test_an_error_that_may_pass_is_retried_and_then_told(server, fields):
    server.alone = error("The card is full.", **fields)
    with pytest.raises(EndpointsFailed, match=r"4 tries failed.*The card is full\."):
        ask(server)


def test_an_error_by_a_code_of_its_own_is_about_this_clip_alone(server):
    server.alone = error("It never ended.", code="runaway")
    (clip,) = ask(server)
    assert problem(clip) == "runaway"


@pytest.mark.parametrize("subtype", ["ULAW", "PCM_U8"])
def test_a_clip_in_a_coarse_code_is_refused_by_name(server, sound, subtype):
    file = io.BytesIO()
    soundfile.write(file, sound, SAMPLE_RATE, format="WAV", subtype=subtype)
    server.alone = file.getvalue()
    (clip,) = ask(server)
    assert problem(clip) == "lossy_code"


REFUSED = {"index": 0, "status": "error", "error": "Invalid voice"}


def test_what_a_batch_says_of_a_clip_is_told_once_and_the_clip_asked_for_alone(
    server, sound, caplog
):
    server.together = batch(REFUSED, REFUSED | {"index": 1, "error": {"message": "Invalid voice"}})
    server.alone = encode_wav(sound)
    clips = ask(server, batch=2, clips=4)
    assert [problem(clip) for clip in clips] == [None] * 4
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == ["a clip of a batch was refused and is asked for alone: Invalid voice"]


def test_what_a_batch_says_of_a_clip_is_told_with_the_failure_of_the_clip_alone(
    server, monkeypatch, caplog
):
    monkeypatch.setenv("SPEECH_KEY", "sk-secret")
    server.together = batch(REFUSED | {"error": "Invalid voice for sk-secret"})
    server.alone = b""
    with pytest.raises(EndpointsFailed, match=r"an empty body.*In a batch .*: Invalid voice for"):
        ask(server, batch=2, api_key_env="SPEECH_KEY")
    assert "sk-secret" not in caplog.text


def test_a_batch_that_is_an_error_is_taken_for_what_it_says(server):
    server.together = error(code=404)
    with pytest.raises(EndpointsFailed, match=r"does not exist\..*set speech\.batch to 1"):
        ask(server, batch=2)
    assert server.asked == 1


@pytest.mark.parametrize(
    "results",
    [
        [REFUSED | {"index": -1}],
        [REFUSED | {"index": 2}],
        [REFUSED | {"index": "0"}],
        [REFUSED, REFUSED],
        [{"index": 0, "status": "success", "audio_data": "not base64!"}],
        [["index", 0]],
        "none",
    ],
)
def test_an_answer_that_is_no_batch_is_told(server, results):
    server.together = json.dumps({"results": results}).encode()
    with pytest.raises(EndpointsFailed, match="not a batch of clips"):
        ask(server, batch=2)


def test_no_body_whatever_ends_in_anything_but_a_clip_a_refusal_or_a_sentence(server, sound):
    chance = random.Random(5)
    wav = encode_wav(sound)
    good = {"index": 0, "status": "success", "audio_data": b64encode(wav).decode()}
    ended = {"clip": 0, "refused": 0, "sentence": 0}
    for number in range(300):
        server.alone = broken(wav[:44], chance) + wav[44:] if number % 3 else error(code="loud")
        if number % 3 == 2:
            server.alone = mutated(server.alone, chance) if server.alone[:1] == b"{" else wav
        server.together = mutated(batch(good), chance)
        try:
            (clip,) = ask(server, batch=1 + number % 2)
        except SympatheiaError as told:
            assert str(told).isprintable()
            ended["sentence"] += 1
        else:
            reason = problem(clip)
            assert reason or clip.flac is not None
            ended["refused" if reason else "clip"] += 1
    assert min(ended.values()) > 20, ended
