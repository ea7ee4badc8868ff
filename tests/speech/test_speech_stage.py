"""The speech stage with a served voice that misbehaves, and what reaches it."""

import asyncio
import io
import threading
import time
from base64 import b64encode
from collections import Counter

import numpy as np
import pytest
import soundfile
from aiohttp import web

from corpus.errors import SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.run.open_run import OpenRun
from corpus.servers.endpoint_pool import Endpoints
from corpus.sound.clip_audio import decode, encode_wav
from corpus.speech.served_voice import ServedVoice
from corpus.speech.speech_stage import speak_all
from corpus.voices.builtin_synthesis import Voice
from schemas.audio import SAMPLE_RATE
from tests.support.fake_servers import FakeTextServer
from tests.support.line import open_run, opened, rows, sympatheia, write_recipe, write_run

# One sentence long enough for any text of these tests to be plausible at its length.
SAID = "The ladder is in the shed behind the house, next to the old bicycle and the paint. " * 2


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return Voice().speak(SAID, speaker="wren", valence=0.0, arousal=0.0, seed=0)


def wav(samples: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


FAULTS = {
    "silent": lambda good: wav(np.zeros_like(good)),
    "noise": lambda good: wav(np.random.default_rng(0).normal(0, 0.1, good.size)),
    "undecodable": lambda good: encode_wav(good)[: good.size],
    "wrong_rate": lambda good: wav(good, 22_050),
    "not_mono": lambda good: wav(np.stack([good, good], axis=1)),
    "too_slow": lambda good: wav(np.tile(good, 12)),
    "html": lambda good: b"<html><body>502 Bad Gateway</body></html>",
    "runaway": lambda good: b'{"error": {"message": "It never ended.", "code": "runaway"}}',
    "not a code": lambda good: b'{"error": {"code": "sk-secret </td>"}}',
    "empty": lambda good: wav(good[:10]),
    "clipped": lambda good: wav(np.clip(good * 40, -1, 1)),
}
REASON = {"html": "undecodable", "not a code": "undecodable"}


class SpeechServer:
    """Speaks `/v1/audio/speech` in a thread; `fault` is what it does to each first attempt."""

    def __init__(self, good: np.ndarray) -> None:
        self.good = good
        self.fault: str | None = None
        self.status = 200
        self.port = 0
        self.bodies: list[dict] = []
        self.keys: set[str] = set()
        self.batches: list[int] = []
        self.batch_answer: object = None
        self.refused_in_batch = "nothing says this"

    async def _speech(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.keys.add(request.headers.get("Authorization", ""))
        first = not any(
            (b["input"], b["voice"]) == (body["input"], body["voice"]) for b in self.bodies
        )
        self.bodies.append(body)
        if self.status != 200:
            return web.Response(status=self.status, text="out of order")
        broken = self.fault and first
        data = FAULTS[self.fault](self.good) if broken else encode_wav(self.good)
        return web.Response(body=data, content_type="audio/wav")

    async def _together(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.batches.append(len(body["items"]))
        if self.batch_answer is not None:
            return web.json_response(self.batch_answer)
        results = []
        for index, item in enumerate(body["items"]):
            if self.refused_in_batch in item["input"]:
                results.append({"index": index, "status": "error", "error": "truncated"})
                continue
            self.bodies.append(item | {"model": body["model"]})
            clip = b64encode(encode_wav(self.good)).decode()
            results.append({"index": index, "status": "success", "audio_data": clip})
        return web.json_response({"results": results[::-1]})

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    def __enter__(self) -> "SpeechServer":
        self.start()
        return self

    def start(self) -> None:
        ready = threading.Event()

        async def main() -> None:
            app = web.Application()
            app.router.add_post("/v1/audio/speech", self._speech)
            app.router.add_post("/v1/audio/speech/batch", self._together)
            app.router.add_get("/v1/models", self._models)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
            await site.start()
            self.port = site._server.sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{self.port}/v1"
            self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await self._end.wait()
            await runner.cleanup()

        self._thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Closes the port and every connection, answered or not."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run whose texts are written, and its recipe."""
    folder = tmp_path_factory.mktemp("speech")
    with FakeTextServer() as server:
        recipe = write_recipe(folder / "r.toml", server.base_url, anchors=("sad",))
        shape = ["emotional.pairs_per_anchor=2", "neutral.queries=1"]
        return write_run(folder / "run", recipe, *shape), recipe, shape


def speak(written, server, store_folder, *more, patience=1):
    """Runs the stage with a store of its own; gives its clips and refusals."""
    run, path, shape = written
    blueprint = Blueprint.named(
        str(path),
        [
            *shape,
            'speech.backend="openai"',
            f'speech.endpoints=["{server.url}"]',
            'speech.model="Qwen3-TTS"',
            *more,
        ],
    )
    speech = blueprint.recipe.speech

    async def stage(opened_run: OpenRun) -> None:
        async with Endpoints(speech.endpoints, patience_seconds=patience, section="speech") as pool:
            voice = ServedVoice(speech.model, opened(pool), speech.concurrency, speech.batch)
            await speak_all(opened_run, voice)

    with open_run(run, blueprint, store=store_folder) as opened_run:
        asyncio.run(stage(opened_run))
        store = opened_run.store
        clips = rows(run.clips)
        for clip in clips:
            samples, rate = decode(store.clips.read(clip["digest"]))
            assert (samples.shape[1], rate) == (1, SAMPLE_RATE)
            assert len(samples) / rate == pytest.approx(clip["seconds"], abs=1e-3)
    return clips, [row for row in rows(run.rejects) if row["stage"] == "speech"]


def test_voice_style_language_and_seed_reach_the_server(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        clips, refused = speak(written, server, tmp_path)
    assert len(clips) == 2 * 2 + 2
    assert refused == []
    assert len({body["seed"] for body in server.bodies}) == len(clips)
    assert {body["language"] for body in server.bodies} == {"English"}
    assert {body["model"] for body in server.bodies} == {"Qwen3-TTS"}
    styles = Counter((body["voice"], body["instructions"]) for body in server.bodies)
    assert styles == {
        ("wren", "Very sad."): 2,
        ("wren", "Neutral."): 1,
        ("heron", "Warm, gentle, reassuring."): 3,
    }


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_bad_clip_is_refused_with_its_reason_and_made_again(tmp_path, written, speech, fault):
    with SpeechServer(speech) as server:
        server.fault = fault
        clips, refused = speak(written, server, tmp_path)
        assert {row["reason"] for row in refused} == {REASON.get(fault, fault)}
        assert len(refused) == len(clips) == 6
        assert {clip["attempt"] for clip in clips} == {1}
        asked = len(server.bodies)
        assert asked == 12
        again, refused_again = speak(written, server, tmp_path)
        assert len(server.bodies) == asked
        assert (again, refused_again) == (clips, refused)


def test_a_voice_that_never_gets_it_right_ends_the_run_with_count_and_reason(
    tmp_path, written, speech
):
    with SpeechServer(np.zeros_like(speech)) as server:
        with pytest.raises(SympatheiaError, match=r"6 clips stayed unusable after 2 .*silent 2x"):
            speak(written, server, tmp_path, "speech.max_attempts=2")
        server.good = speech
        clips, _ = speak(written, server, tmp_path, "speech.max_attempts=3")
        assert len(clips) == 6


def test_a_speech_server_that_is_down_ends_the_run_with_the_remedy(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        server.status = 500
        with pytest.raises(SympatheiaError, match=r"HTTP 500.*run the same command again"):
            speak(written, server, tmp_path)


def test_a_speech_server_that_dies_in_mid_run_and_returns_costs_nothing(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        undisturbed, _ = speak(written, server, tmp_path / "undisturbed")
        server.bodies.clear()

        def die_and_return():
            while len(server.bodies) < 2:
                time.sleep(0.005)
            server.stop()
            time.sleep(2)
            server.start()

        dying = threading.Thread(target=die_and_return)
        dying.start()
        clips, refused = speak(written, server, tmp_path / "dying", patience=60)
        dying.join()
        assert (clips, refused) == (undisturbed, [])
        assert len(server.bodies) <= len(clips) + 2  # what was in flight: two, by default


def test_a_key_for_the_speech_server_is_sent_and_kept_nowhere(
    tmp_path, written, speech, monkeypatch
):
    monkeypatch.setenv("SPEECH_KEY", "sk-not-to-be-seen")
    with SpeechServer(speech) as server:
        server.status = 401
        run, path, shape = written
        settings = [
            *shape,
            'speech.backend="openai"',
            f'speech.endpoints=["{server.url}"]',
            'speech.model="Qwen3-TTS"',
            'speech.api_key_env="SPEECH_KEY"',
        ]
        options = [part for setting in settings for part in ("--set", setting)]
        done = sympatheia("build", path, "--run-dir", run.root, "--until", "speech", *options)
    assert done.returncode == 1
    assert "refused access" in done.stderr and "SPEECH_KEY" in done.stderr
    assert server.keys == {"Bearer sk-not-to-be-seen"}
    assert "sk-not" not in done.stdout + done.stderr
    for file in run.root.rglob("*"):
        assert not file.is_file() or b"sk-not" not in file.read_bytes(), file


BATCHED = ("speech.batch=4", "speech.concurrency=6")


def test_clips_are_asked_for_in_batches_and_come_out_as_if_alone(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        alone, _ = speak(written, server, tmp_path / "alone")
        server.bodies.clear()
        together, refused = speak(written, server, tmp_path / "together", *BATCHED)
        assert sorted(server.batches) == [2, 4]
        assert (together, refused) == (alone, [])
        assert len({body["seed"] for body in server.bodies}) == 6
        assert {body["instructions"] for body in server.bodies} == {
            "Very sad.",
            "Neutral.",
            "Warm, gentle, reassuring.",
        }


def test_a_clip_that_fails_in_a_batch_is_asked_for_alone(tmp_path, written, speech):
    text = rows(written[0].queries)[0]["text"]
    with SpeechServer(speech) as server:
        server.refused_in_batch = text
        clips, refused = speak(written, server, tmp_path, *BATCHED)
        assert (len(clips), refused) == (6, [])
        assert sum(body["input"] == text for body in server.bodies) == 1


def test_clips_asked_of_a_server_count_towards_the_limit_and_are_kept(tmp_path, written, speech):
    with SpeechServer(speech) as server:
        with pytest.raises(SympatheiaError, match=r"limits\.requests is reached.*used 5"):
            speak(written, server, tmp_path, "limits.requests=5")
        assert len(server.bodies) == 5
        clips, _ = speak(written, server, tmp_path, "limits.requests=6")
        assert (len(clips), len(server.bodies)) == (6, 6)


@pytest.mark.parametrize("answer", [[], {}, {"results": [{"index": 9, "status": "success"}]}])
def test_an_answer_that_is_no_batch_ends_in_a_sentence(tmp_path, written, speech, answer):
    with SpeechServer(speech) as server:
        server.batch_answer = answer
        with pytest.raises(SympatheiaError, match=r"batch of . clips .*not a batch of clips"):
            speak(written, server, tmp_path, *BATCHED)
