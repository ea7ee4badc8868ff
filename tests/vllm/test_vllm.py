"""A real vLLM, its CPU build, with the embedded text model in its own weights: `make test-vllm`.

What a GPU server would show is shown here too: where the thinking goes, that seeds hold, how an
answer that was cut off looks, and that a run outlives its server.
"""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.servers.chat_requests import EMPTY, TRUNCATED, ChatRequest, problem, read_answer
from corpus.store.digest_store import Store
from corpus.text.assessment.llm_judge import judge_request, read_grades
from tests.support.line import rows, start, sympatheia

pytestmark = pytest.mark.vllm

IN_FLIGHT = 8
# One step at a time, unchunked: seeded requests and chunked prefill end the CPU build's engine.
ARGUMENTS = [
    *("--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096"),
    *("--max-model-len", "4096", "--max-num-seqs", "32", "--reasoning-parser", "qwen3"),
]


@pytest.fixture(scope="module")
def model():
    """The interpreter that has vLLM, and the model folder."""
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "2", "HF_HUB_OFFLINE": "1"}
    python, folder = (Path(os.environ[f"SYMPATHEIA_VLLM_{name}"]) for name in ("PYTHON", "MODEL"))
    # Not resolved: an environment's interpreter is a link that must be called by its own name.
    return python.absolute(), folder.absolute()


class Server:
    """A vLLM on a port of its own, for as long as a test wants."""

    def __init__(self, model, log):
        self.python, self.folder = model
        self.log = log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.start()

    def start(self):
        command = [self.python, "-m", "vllm.entrypoints.openai.api_server", "--model", self.folder]
        command += ["--host", "127.0.0.1", "--port", str(self.port), *ARGUMENTS]
        begun = time.monotonic()
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=file, start_new_session=True
            )
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/models", timeout=5).close()
                break
            except OSError:
                assert self.process.poll() is None, self.log.read_text()[-2000:]
                time.sleep(0.2)
        print(f"\nvLLM was up after {time.monotonic() - begun:.0f} s")

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, request):
        """The answer to a request as the server sends it, and as we read it."""
        made = urllib.request.Request(
            f"{self.url}/chat/completions",
            request.body(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(made, timeout=300) as response:
            content = response.read()
        return json.loads(content), read_answer(content)

    def answered(self):
        return len(re.findall(r'POST /v1/chat/completions HTTP/1.1" 200', self.log.read_text()))


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    running = Server(model, tmp_path_factory.mktemp("vllm") / "log")
    yield running
    if running.process.poll() is None:
        running.kill()


def request(model, *, text="What should I cook tonight?", seed=1, max_tokens=40, thinking=False):
    messages = [{"role": "user", "content": text}]
    return ChatRequest(str(model[1]), messages, 0.9, 0.95, max_tokens, seed, thinking)


def settings(model, *more):
    given = (
        f'llm.model="{model[1]}"',
        'anchors=["sad", "excited"]',
        "emotional.pairs_per_anchor=3",
        "neutral.queries=2",
        f"llm.concurrency={IN_FLIGHT}",
        "llm.max_attempts=60",
        *more,
    )
    return [part for setting in given for part in ("--set", setting)]


def assert_whole(run):
    assert len(rows(run.queries)) == 2 * 3 + 2
    assert len(rows(run.responses)) == 2 * 3 + 2 * 2


def test_thinking_is_in_a_field_of_its_own_and_off_when_it_is_off(model, server):
    raw, answer = server.ask(request(model, thinking=False))
    message = raw["choices"][0]["message"]
    assert message["content"]
    assert answer.text == message["content"].strip()
    raw, answer = server.ask(request(model, thinking=True))
    message = raw["choices"][0]["message"]
    # This model never closes its thinking, so all it says is thinking, and the content is null.
    print(f"\nthinking on: content {message['content']!r}, reasoning {message['reasoning'][:50]!r}")
    assert message["content"] is None
    assert message["reasoning"]
    assert answer.text == ""
    assert problem(answer) in (EMPTY, TRUNCATED)


def test_a_seed_repeats_its_answer(model, server):
    answers = [server.ask(request(model, seed=seed))[1].text for seed in (7, 7, 8)]
    assert answers[0] == answers[1] != answers[2]


def test_what_is_cut_off_says_so(model, server):
    _, answer = server.ask(request(model, max_tokens=5))
    assert (answer.finish_reason, answer.completion_tokens) == ("length", 5)
    assert problem(answer) == TRUNCATED
    _, answer = server.ask(request(model, text="Say no more than yes.", max_tokens=400))
    assert answer.finish_reason == "stop"
    assert answer.prompt_tokens > 0


def test_a_judge_can_answer_in_no_other_form(model, server):
    blueprint = Blueprint.named("demo", [f'llm.judge.model="{model[1]}"'])
    slot = next(blueprint.plan.pairs())
    asked = judge_request(blueprint, slot, "What now?", "Have some tea first.", 0)
    _, answer = server.ask(asked)
    print(f"\ngrades: {' '.join(answer.text.split())}")
    assert read_grades(answer) is not None


def test_a_run_outlives_its_server(model, server, tmp_path):
    run, log = RunFolder(tmp_path / "run"), tmp_path / "log"
    before = server.answered()
    options = settings(model, f'llm.endpoints=["{server.url}"]', "llm.patience_seconds=600")
    process = start(
        "build", "demo", "--until", "responses", "--run-dir", run.root, *options, log=log
    )
    while server.answered() - before < 10:
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    server.kill()
    time.sleep(3)
    server.start()
    assert process.wait(900) == 0, log.read_text()
    assert_whole(run)
    with Store(run.store) as store:
        stored = len(store.completions)
    answered = server.answered() - before
    print(f"\n{stored} answers kept, {answered} given, one server killed in between")
    assert stored <= answered <= stored + IN_FLIGHT


def test_a_run_starts_and_ends_its_own(model, server, tmp_path):
    server.kill()  # two would not fit into a small machine's memory
    run = RunFolder(tmp_path / "run")
    arguments = json.dumps(ARGUMENTS)
    own = (f'llm.vllm.python="{model[0]}"', f"llm.vllm.arguments={arguments}")
    options = settings(model, *own)
    build = ("build", "demo", "--until", "responses", "--run-dir", run.root, *options)
    done = sympatheia(*build, timeout=1200)
    assert done.returncode == 0, done.stderr
    assert_whole(run)
    running = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    assert not any(str(model[0]) in line for line in running)
    log = run.vllm_log.read_bytes()
    again = sympatheia(*build, timeout=60)
    assert again.returncode == 0, again.stderr
    assert run.vllm_log.read_bytes() == log, "it was started with nothing to ask"
    print("\n" + sympatheia("status", run.root).stdout.partition(": ")[2])
