"""A speech server whose clips can be made faulty, and the speech stage run against it."""

import asyncio
import io
import threading
from base64 import b64encode

import numpy as np
import pytest
import soundfile
from aiohttp import web

from corpus.plan.blueprint import Blueprint
from corpus.run.open_run import OpenRun
from corpus.servers.retry_and_failover import Endpoints
from corpus.sound.clip_audio import encode_wav
from corpus.sound.sound_files import decode
from corpus.speech.served_voice import ServedVoice
from corpus.speech.speech_stage import speak_all
from schemas.audio import SAMPLE_RATE
from tests.support.judge_server import judge_of
from tests.support.line import open_run, opened, rows

# One sentence long enough for any text of these tests to be plausible at its length.
SAID = "The ladder is in the shed behind the house, next to the old bicycle and the paint. " * 2


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

HABITS = {
    "pause": lambda good: wav(np.insert(good, good.size // 2, np.zeros(36_000, good.dtype))),
    "cut": lambda good: wav(good[: np.flatnonzero(np.abs(good) > 0.5 * np.abs(good).max())[-1]]),
}
"""What a voice may have, and what a rule may or may not refuse: a pause of 1.5 s, no end."""


class SpeechServer:
    """Speaks `/v1/audio/speech` in a thread.

    `fault` is what it does to each first attempt of a voice whose name has `only` in it, or to each
    attempt with `always`.
    """

    def __init__(self, good: np.ndarray) -> None:
        self.good = good
        self.fault: str | None = None
        self.only = ""
        self.always = False
        self.says_ended = False
        self.reported: dict[str, int] = {}
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
        broken = self.fault and (first or self.always) and self.only in body["voice"]
        data = (FAULTS | HABITS)[self.fault](self.good) if broken else encode_wav(self.good)
        ended = {"X-Finish-Reason": "stop"} if self.says_ended else None
        return web.Response(body=data, content_type="audio/wav", headers=ended)

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
            told = {"finish_reason": "stop"} if self.says_ended else {}
            results.append({"index": index, "status": "success", "audio_data": clip} | told)
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
            "speech.prosody=false",
            *more,
        ],
    )
    speech = blueprint.recipe.speech

    async def stage(opened_run: OpenRun) -> None:
        pool = Endpoints(speech.endpoints, patience_seconds=patience, section="speech")
        async with pool, judge_of(opened_run) as judge:
            voice = ServedVoice(speech.model, opened(pool), speech.concurrency, speech.batch)
            await speak_all(opened_run, voice, judge=judge)

    with open_run(run, blueprint, store=store_folder) as opened_run:
        asyncio.run(stage(opened_run))
        server.reported = opened_run.progress.snapshot()["stages"]["speech"]["reported"]
        store = opened_run.store
        clips = rows(run.clips)
        for clip in clips:
            samples, rate = decode(store.clips.read(clip["digest"]))
            assert (samples.shape[1], rate) == (1, SAMPLE_RATE)
            assert len(samples) / rate == pytest.approx(clip["seconds"], abs=1e-3)
    return clips, [row for row in rows(run.rejects) if row["stage"] == "speech"]
