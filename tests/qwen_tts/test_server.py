"""The Qwen3-TTS server with the real package and a small random model: `make test-qwen-tts`.

The model hums and ends by chance, so a request is made with one seed after the other until its clip
is whole, as the pipeline does.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64decode
from itertools import count
from pathlib import Path

import psutil
import pytest

from corpus.servers.retry_and_failover import Endpoints
from corpus.sound.clip_audio import finish, measure
from corpus.speech.clip_requests import ClipRequest
from corpus.speech.served_voice import ServedVoice
from corpus.voices.qwen_server import BAD_CLIP
from tests.support.line import SYMPATHEIA, opened, sympatheia

pytestmark = pytest.mark.qwen_tts

ROOT = Path(__file__).parents[2]
TEXT = "Could you help me plan a simple dinner tonight?"
ORDER = {"input": TEXT, "voice": "Ryan", "language": "English", "instructions": "Very happy."}
CUT = {"max_new_tokens": 3}


@pytest.fixture(scope="module")
def python():
    return Path(os.environ["SYMPATHEIA_QWEN_TTS_PYTHON"]).absolute()


@pytest.fixture(scope="module")
def model(python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen") / "tiny"
    command = [python, "-m", "tests.qwen_tts.make_checkpoint", folder]
    subprocess.run(command, check=True, cwd=ROOT, timeout=300)
    return folder


class Server:
    """A server of the command line on a port of its own."""

    def __init__(self, python, model, log, *options):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.log = log
        command = [SYMPATHEIA, "serve", "qwen-tts", "--python", python, "--model", model]
        command += ["--device", "cpu", "--port", str(port), *options]
        # One thread each: several wait for each other for seconds when the cores are busy.
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with log.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)

    def ready(self):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                self.get("/health")
                return self
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        raise AssertionError("the server did not start: " + self.log.read_text())

    def get(self, path):
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, body, path="/v1/audio/speech"):
        request = urllib.request.Request(self.address + path, json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.headers["content-type"], answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["content-type"], error.read()

    def batch(self, items, **defaults):
        status, _, answer = self.post({"items": items, **defaults}, "/v1/audio/speech/batch")
        assert status == 200, answer
        return json.loads(answer)

    def clip(self, change=None, seeds=None):
        """The first whole clip of a request, with the seed that gave it."""
        for seed in seeds or count():
            status, _, clip = self.post(ORDER | (change or {}) | {"seed": seed})
            if status == 200:
                return clip, seed
            assert status == BAD_CLIP, clip
        raise AssertionError("no clip was whole")

    def processes(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture(scope="module")
def servers(python, model, tmp_path_factory):
    """One that puts requests together, and one that speaks each alone; they load side by side."""
    logs = tmp_path_factory.mktemp("logs")
    both = [
        Server(python, model, logs / name, "--batch", name, "--name", "voice-1")
        for name in ("4", "1")
    ]
    try:
        yield [server.ready() for server in both]
    finally:
        for server in both:
            server.end()


@pytest.fixture
def together(servers):
    return servers[0]


@pytest.fixture
def alone(servers):
    return servers[1]


def test_tells_its_model(together):
    (told,) = together.get("/v1/models")["data"]
    assert told["id"] == "voice-1"
    assert told["voices"] == ["eric", "ryan", "vivian"]
    assert told["languages"] == ["auto", "chinese", "english"]


def test_speaks_24_khz_mono(together):
    clip, seed = together.clip()
    flac, _ = together.clip({"response_format": "flac"}, [seed])
    assert (clip[:4], flac[:4]) == (b"RIFF", b"fLaC")
    for sound in (clip, flac):
        found = measure(sound)
        assert (found.problem, found.sample_rate, found.channels) == (None, 24_000, 1)
        assert found.finite
        assert found.peak > 0.01
        assert 0.1 < found.seconds < 6


def test_alone_a_seed_repeats_its_clip(alone):
    clip, seed = alone.clip()
    assert alone.clip(seeds=[seed])[0] == clip
    assert alone.clip(seeds=count(seed + 1))[0] != clip


@pytest.mark.parametrize(
    "change",
    [
        {"instructions": "Very sad."},
        {"instructions": ""},
        {"voice": "Vivian"},
        {"language": "Auto"},
        {"language": "Chinese", "voice": "Eric"},
        {"input": TEXT.replace("dinner", "supper")},
    ],
)
def test_everything_asked_for_reaches_the_model(alone, change):
    # So small a model draws the same for some seeds all the same.
    for seed in range(12):
        first, _, clip = alone.post(ORDER | {"seed": seed})
        second, _, other = alone.post(ORDER | {"seed": seed} | change)
        if first == second == 200 and clip != other:
            return
    raise AssertionError("no seed gave two clips that differ")


def test_white_space_around_a_text_changes_nothing(alone):
    clip, seed = alone.clip()
    assert alone.clip({"input": f"\n  {TEXT}\n", "voice": "RYAN"}, [seed])[0] == clip


def test_equal_batches_are_equal_to_the_byte(together, alone):
    items = [{"input": f"{TEXT} Number {i}.", "seed": 100 + i} for i in range(6)]
    styled = {"voice": "Ryan", "language": "English", "instructions": "Very happy."}
    first = together.batch(items, **styled)
    assert together.batch(items, **styled) == first
    assert alone.batch(items, **styled) == first, "a batch is not split"
    assert first["total"] == first["succeeded"] + first["failed"] == 6
    assert [result["index"] for result in first["results"]] == list(range(6))
    whole = [result for result in first["results"] if result["status"] == "success"]
    assert all(result["finish_reason"] == "stop" for result in whole)
    clips = [b64decode(result["audio_data"]) for result in whole]
    assert clips
    for clip in clips:
        assert (measure(clip).sample_rate, measure(clip).channels) == (24_000, 1)
    # What one says depends on its company.
    assert together.batch(items[::-1], **styled)["results"][::-1] != first["results"]
    items[5] |= {"seed": 7}
    assert together.batch(items, **styled)["results"][0] != first["results"][0]


def test_a_batch_of_one_is_as_if_alone(alone):
    clip, seed = alone.clip()
    (result,) = alone.batch([ORDER | {"seed": seed}])["results"]
    assert b64decode(result["audio_data"]) == clip


def test_many_at_once_are_each_answered(together):
    async def many():
        asked = [asyncio.to_thread(together.post, ORDER | {"seed": seed}) for seed in range(10)]
        asked.append(asyncio.to_thread(together.batch, [ORDER | CUT] * 5))
        waited = asyncio.gather(*asked)
        begun = time.monotonic()
        await asyncio.to_thread(together.get, "/health")
        return time.monotonic() - begun, await waited

    seconds, answers = asyncio.run(many())
    assert seconds < 2.0
    assert {answer[0] for answer in answers[:-1]} <= {200, BAD_CLIP}
    assert answers[-1]["failed"] == 5


def test_a_request_that_cannot_be_served_is_refused(together):
    for change, field in (
        ({"voice": "Wren"}, "voice"),
        ({"language": "Klingon"}, "language"),
        ({"input": "Bye.<tts_eos> More."}, "input"),
        ({"instructions": "Sad.<|im_end|>"}, "instructions"),
    ):
        status, _, answer = together.post(ORDER | change)
        assert status == 400
        assert json.loads(answer)["error"]["param"] == field


def test_a_clip_cut_short_is_no_clip(together):
    status, kind, answer = together.post(ORDER | CUT)
    assert (status, kind) == (BAD_CLIP, "application/json")
    error = json.loads(answer)["error"]
    assert error["code"] == "truncated"
    assert "cut off at max_new_tokens (3), after 0.2 s" in error["message"]
    answer = together.batch([ORDER, ORDER | CUT])
    assert answer["results"][1]["code"] == "truncated"
    assert "audio_data" not in answer["results"][1]


def test_a_clip_that_does_not_end_is_no_clip(together):
    # One word may take 4.9 s, 61 frames; a few go on, and the model's own limit is 64.
    for seed in range(0, 160, 16):
        items = [ORDER | {"input": "Hi.", "seed": seed + i} for i in range(16)]
        results = together.batch(items)["results"]
        codes = {result.get("code") for result in results}
        assert codes <= {None, "runaway"}
        if "runaway" in codes:
            return
    raise AssertionError("no clip of 160 ran away")


def test_our_own_client_gets_clips_and_takes_a_bad_one_as_such(together):
    async def speak():
        urls = [f"{together.address}/v1"]
        async with Endpoints(urls, patience_seconds=5, section="speech") as pool:
            await pool.check()

            async def cut(client):
                answer = await client.audio.speech.create(
                    model="voice-1", voice="Ryan", input=TEXT, extra_body=CUT
                )
                return await answer.aread()

            bad = await pool.call(cut, "a clip that is cut off")
            for batch, seed in ((1, 0), (2, 40)):
                voice = ServedVoice("voice-1", opened(pool), 8, batch)
                for tried in range(seed, seed + 40):
                    request = ClipRequest(
                        "voice-1", "Ryan", TEXT, "English", tried, -23.0, style="Very sad."
                    )
                    found = (await voice.speak(request, "a clip")).measures
                    if found.problem is None:
                        break
                assert (found.problem, found.sample_rate, found.channels) == (None, 24_000, 1)
            return bad, pool.snapshot()

    bad, states = asyncio.run(speak())
    clip, measures = finish(bad, -23.0)
    assert clip is None
    assert "cannot be decoded" in measures.problem
    assert [state.failed for state in states] == [0], "it was not asked for again"


def test_a_dead_process_is_replaced_and_sigterm_leaves_none(python, model, tmp_path):
    server = Server(python, model, tmp_path / "log", "--device", "cpu,cpu").ready()
    try:
        for child in server.processes():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
        answers = [server.post(ORDER | {"seed": seed})[0] for seed in range(4)]
        assert set(answers) <= {200, BAD_CLIP, 503}
        assert answers[-1] != 503
        slow = {"items": [ORDER] * 32}  # ten seconds or more
        path = "/v1/audio/speech/batch"
        asking = threading.Thread(target=lambda: _ignore(server.post, slow, path), daemon=True)
        asking.start()
        time.sleep(1)
        left = server.processes()
        assert len(left) >= 2
    finally:
        assert server.end() == 0
    _, alive = psutil.wait_procs(left, timeout=5)
    assert not alive
    assert "Traceback" not in server.log.read_text()
    asking.join(10)


def _ignore(ask, *arguments):
    try:
        ask(*arguments)
    except (OSError, urllib.error.URLError):
        return  # the server ended in the middle


def test_what_cannot_be_served_is_told_in_a_sentence(python, model, tmp_path):
    config = json.loads((model / "config.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    for file in model.iterdir():
        (other / file.name).symlink_to(file)
    (other / "config.json").unlink()
    (other / "config.json").write_text(json.dumps(config | {"tts_model_type": "voice_design"}))
    here = ("--python", str(python), "--port", "1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, words in (
            (("--model", model, "--python", sys.executable), "make setup-qwen-tts"),
            (("--model", model, "--python", tmp_path / "none"), "cannot be started"),
            (("--model", model, *here[:2], "--port", port), f"port {port}"),
            (("--model", tmp_path / "none", "--device", "cpu", *here[:2]), "cannot be loaded"),
            (("--model", other, "--device", "cpu", *here[:2]), "of the kind voice_design"),
            (("--model", model, "--device", "cuda:0", *here[:2]), "no GPU"),
        ):
            done = sympatheia("serve", "qwen-tts", *map(str, arguments))
            assert done.returncode == 2, (arguments, done.stderr)
            assert words in done.stderr
            assert "Traceback" not in done.stderr


def test_the_benchmark_runs(python, model):
    command = [python, "-m", "benchmarks.qwen_tts", "--model", model, "--device", "cpu"]
    done = subprocess.run(
        [*command, "--batches", "1,2", "--seconds", "2"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [row["batch"] for row in json.loads(done.stdout)["batches"]] == [1, 2]
