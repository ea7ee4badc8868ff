"""The speech stage, as the command line runs it: with the builtin voice, and served at full size.

- `builtin`: 600 pairs (925 clips) by the builtin voice on two processes: seconds of sound made a
  second, and how the clips sound. Over the emotional subset's queries the rank correlation of each
  prosody feature with valence and arousal, and the word error rate, with the gates they are to
  pass; over the responses the same beside what is published for the trained model.
- `served`: all 30,500 clips of sympatheia-18k, without prosody, from a server that answers at once
  with speech of a fitting length: what is left is the client, the checks and the finishing. And a
  tenth of it, to see whether memory grows with the corpus.
- `client`: requests a second of the client alone against that server, each clip thrown away.

Run it on a quiet machine with 25 GB of disk to spare; the servers share its cores. About half an
hour on two.

    .venv/bin/python -m benchmarks.speech_run [--keep FOLDER]

With `--keep` the served run is left in a folder, for `benchmarks.dataset_run`. The figures go to
`speech_run.json` beside this file.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import openai
from aiohttp import web

from benchmarks.text_run import build
from corpus.evaluation.published import PUBLISHED, SYMPATHEIA
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import read_rows
from corpus.servers.retry_and_failover import Endpoints
from corpus.sound.clip_audio import encode_wav
from corpus.sound.prosody import correlations
from corpus.sound.speech_recognition import Listener
from corpus.speech.clip_requests import QUERY, RESPONSE
from corpus.store.opening import open_store
from corpus.voices.builtin_synthesis import SPEAKERS, Voice
from schemas.slots import EMOTIONAL
from tests.support.fake_servers import TextServerProcess

RESULT = Path(__file__).with_suffix(".json")
PAIRS = ("emotional.pairs_per_anchor=25", "neutral.queries=25")
TENTH = ("emotional.pairs_per_anchor=100", "neutral.queries=50")
CLIENT_REQUESTS, IN_FLIGHT = 3_000, 64

AROUSAL_GATES = dict.fromkeys(("f0_mean", "f0_sd", "energy_mean", "rate", "centroid"), 0.6)
"""Least rank correlation with arousal that the project holds the builtin voice to."""
VALENCE_F0_GATE = 0.25
MEDIAN_ERROR_GATE, P95_ERROR_GATE = 0.0, 0.25

PLAIN = "The ladder is in the shed behind the house next to the old bicycle and the paint."
WORDS_STEP = 10
"""The instant server has a clip for every tenth number of words, up to the longest response."""


# The builtin voice


def builtin(folder: Path) -> dict[str, Any]:
    """The figures of 600 pairs."""
    run = RunFolder(folder / "builtin")
    query, response = SPEAKERS
    speech = ('speech.backend="builtin"', "speech.endpoints=[]", 'speech.model=""')
    voices = (f'speech.query_voice="{query}"', f'speech.response_voice="{response}"')
    settings = (*PAIRS, *speech, *voices, "speech.concurrency=2")
    with TextServerProcess() as server:
        build(run.root, server, *settings)
        figures = build(run.root, server, *settings, until="speech")
    clips = list(read_rows(run.clips))
    seconds = sum(clip["seconds"] for clip in clips)
    sounds = list(read_rows(run.sound))
    emotional = [row for row in sounds if row["role"] == QUERY and row["id"].startswith(EMOTIONAL)]
    answers = [row for row in sounds if row["role"] == RESPONSE]
    queries = correlations(emotional, points(emotional))
    errors = word_errors(run, emotional)
    measured = {
        "median": statistics.median(errors),
        "p95": round(float(np.percentile(errors, 95)), 3),
        "mean": round(statistics.fmean(errors), 4),
    }
    found = correlations(answers, points(answers))
    gates = {
        f"{name} with arousal": queries[name]["arousal"] > g for name, g in AROUSAL_GATES.items()
    }
    gates["f0_mean with valence"] = queries["f0_mean"]["valence"] > VALENCE_F0_GATE
    gates["median word error rate"] = measured["median"] <= MEDIAN_ERROR_GATE
    gates["95th percentile of it"] = measured["p95"] <= P95_ERROR_GATE
    return {
        "clips": len(clips),
        "seconds_of_sound": round(seconds),
        **figures,
        "seconds_of_sound_per_second": round(seconds / figures["seconds"], 1),
        "cpu_seconds_per_second_of_sound": round(figures["cpu_seconds"] / seconds, 4),
        "queries": {"clips": len(emotional), "spearman": queries, "word_error_rate": measured},
        "gates": gates,
        "responses": {
            name: found[name] | {f"published_{axis}": rho for axis, rho in published.items()}
            for name, published in PUBLISHED["prosody"][SYMPATHEIA].items()
        },
    }


def points(sounds: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Valence and arousal of each clip."""
    return [(row["valence"], row["arousal"]) for row in sounds]


def word_errors(run: RunFolder, sounds: list[dict[str, Any]]) -> list[float]:
    """The word error rate of each clip, as the check would take it."""
    texts = {row["query_id"]: row["text"] for row in read_rows(run.queries)}

    async def listen() -> list[float]:
        url = run.read_recipe().storage.url
        with open_store(run.store, url) as store, Listener(store) as listener:
            heard = (listener.word_error_rate(row["digest"], texts[row["id"]]) for row in sounds)
            return await asyncio.gather(*heard)

    return asyncio.run(listen())


# Served


class SpeechServerProcess:
    """A speech server, a process of its own; a context manager.

    Args:
        latency: seconds that it takes for a clip; it answers at once by default.
    """

    def __init__(self, latency: float = 0.0) -> None:
        self._latency = latency

    def __enter__(self) -> "SpeechServerProcess":
        command = [sys.executable, "-m", "benchmarks.speech_run", "serve", str(self._latency)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _own(clip: bytes, text: str) -> bytes:
    """The clip with 32 samples in its middle changed by no more than nobody hears.

    `check` finds two texts that have the same clip, so every text gets one of its own.
    """
    middle = len(clip) // 4 * 2
    samples = np.frombuffer(clip, "<i2", count=32, offset=middle)
    change = np.frombuffer(sha256(text.encode()).digest(), np.uint8) // 8
    changed = (samples.astype(np.int32) + change).clip(-32768, 32767).astype("<i2")
    return clip[:middle] + changed.tobytes() + clip[middle + changed.nbytes :]


def serve(latency: float) -> None:
    """Answers every request, after so many seconds, with a clip that fits its number of words."""
    voice = Voice()
    words = itertools.cycle(PLAIN.rstrip(".").split())
    clips = []
    for count in range(WORDS_STEP, 160, WORDS_STEP):
        text = ". ".join(" ".join(itertools.islice(words, 10)) for _ in range(count // 10)) + "."
        said = voice.speak(text, speaker=next(iter(SPEAKERS)), valence=0.0, arousal=0.0, seed=0)
        clips.append(encode_wav(said))

    async def speech(request: web.Request) -> web.Response:
        text = (await request.json())["input"]
        place = min(max(round(len(text.split()) / WORDS_STEP), 1), len(clips)) - 1
        await asyncio.sleep(latency)
        return web.Response(body=_own(clips[place], text), content_type="audio/wav")

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/v1/audio/speech", speech)
        app.router.add_get("/v1/models", models)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
        await site.start()
        assert site._server is not None
        print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    asyncio.run(main())


def served(folder: Path, speech: SpeechServerProcess, *size: str) -> dict[str, Any]:
    """The speech stage of a run whose texts are written first."""
    run = RunFolder(folder)
    settings = (*size, f'speech.endpoints=["{speech.url}"]', "speech.prosody=false")
    with TextServerProcess() as server:
        build(run.root, server, *settings)
        figures = build(run.root, server, *settings, until="speech")
        again = build(run.root, server, *settings, until="speech")
    clips = list(read_rows(run.clips))
    seconds = sum(clip["seconds"] for clip in clips)
    return {
        "clips": len(clips),
        "hours_of_sound": round(seconds / 3600, 1),
        **figures,
        "clips_per_second": round(len(clips) / figures["seconds"], 1),
        "cpu_ms_per_second_of_sound": round(1e3 * figures["cpu_seconds"] / seconds, 2),
        "again_seconds": again["seconds"],
    }


def client(speech: SpeechServerProcess) -> dict[str, float]:
    """Requests a second of the client when nobody looks at the clips."""

    async def go() -> float:
        async def send(client: openai.AsyncOpenAI) -> int:
            answer = await client.audio.speech.create(
                model="m", voice="v", input=PLAIN, response_format="wav"
            )
            return len(await answer.aread())

        async with Endpoints([speech.url], section="speech") as pool:
            numbers = iter(range(CLIENT_REQUESTS))

            async def worker() -> None:
                for _ in numbers:
                    await pool.call(send, "a clip")

            begun = time.perf_counter()
            await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
            return time.perf_counter() - begun

    cpu = time.process_time()
    seconds = asyncio.run(go())
    cpu = time.process_time() - cpu
    return {
        "in_flight": IN_FLIGHT,
        "requests_per_second": round(CLIENT_REQUESTS / seconds, 1),
        "cpu_ms_per_request": round(1e3 * cpu / CLIENT_REQUESTS, 2),
    }


def main(arguments: list[str]) -> None:
    """Measures all, prints and writes the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=Path, help="leave the full served run in this folder")
    keep: Path | None = parser.parse_args(arguments).keep
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name, SpeechServerProcess() as speech:
        folder = Path(name)
        result: dict[str, Any] = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}",
            "load_before": round(load, 1),
            "builtin": builtin(folder),
            "client": client(speech),
            "served": {
                "tenth": served(folder / "tenth", speech, *TENTH),
                "full": served(keep or folder / "full", speech),
            },
        }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    serve(float(sys.argv[2])) if sys.argv[1:2] == ["serve"] else main(sys.argv[1:])
