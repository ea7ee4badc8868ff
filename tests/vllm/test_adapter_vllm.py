"""A real vLLM, its CPU build, with a tiny random base and adapter: what it writes is what we write.

Greedy tokens over HTTP equal those of our own class, for the adapter beside its base and for the
two merged. Sampling is by other random numbers there, so it has no such equal.
"""

import asyncio
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from corpus.adapter.chatglm.config import ChatGLMConfig
from corpus.adapter.handover.merged_weights import merge
from corpus.adapter.inference.language_model import LanguageModel, Sampling
from corpus.adapter.inference.writers import Request, ServedModel, served_name
from corpus.adapter.model import ChatGLMForCausalLM, load_base
from corpus.adapter.prompt_template import BARE, prompt
from corpus.adapter.tiny import make_base
from corpus.servers.retry_and_failover import Endpoints

pytestmark = pytest.mark.vllm

NAME = "sympatheia"
GREEDY = Sampling(temperature=0.0, max_new_tokens=24)
REQUESTS = [
    Request("one", prompt(range(40), (0.5, -0.25)), 1),
    Request("two", prompt(range(9), None), 2),
    Request("three", prompt(range(100, 160), BARE), 3),
]
# One step at a time, unchunked, without a tokenizer: ids go in and come out.
ARGUMENTS = [
    *("--skip-tokenizer-init", "--dtype", "float32", "--enforce-eager", "--max-model-len", "1024"),
    *("--no-enable-chunked-prefill", "--max-num-batched-tokens", "1024", "--max-num-seqs", "8"),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A base with heads of a size that vLLM's CPU build knows, an adapter, and the two merged."""
    folder = tmp_path_factory.mktemp("parts")
    make_base(folder / "base")
    config = ChatGLMConfig.from_pretrained(folder / "base")
    config.kv_channels, config.hidden_size, config.ffn_hidden_size = 64, 256, 384
    torch.manual_seed(1)
    ChatGLMForCausalLM(config).save_pretrained(folder / "base")
    targets = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]
    lora = LoraConfig(r=8, lora_alpha=64, target_modules=targets, init_lora_weights=False)
    base = load_base(folder / "base", dtype=torch.float32)
    get_peft_model(base, lora).save_pretrained(folder / "adapter")
    merge(folder / "adapter", folder / "merged", str(folder / "base"))
    return folder


class Vllm:
    """A vLLM on a port of its own."""

    def __init__(self, model: Path, log: Path, *arguments: str) -> None:
        python = Path(os.environ["SYMPATHEIA_VLLM_PYTHON"]).absolute()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        self._log = log
        entry = ("-m", "vllm.entrypoints.openai.api_server", "--model")
        command = [python, *entry, model, "--port", str(port), *ARGUMENTS]
        environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [*command, *arguments],
            env=environment,
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> str:
        deadline = time.monotonic() + 300
        while True:
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"{self.url}/models", timeout=5):
                    return self.url
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def served(url: str, model: LanguageModel, wanted: str | None) -> list[list[int]]:
    """What a server writes, by request."""
    found: dict[str, list[int]] = {}

    async def ask() -> None:
        async with Endpoints([url], concurrency=4, section="responses") as pool:
            name = await served_name(pool, wanted)
            encode = lambda text: model.tokenizer(text)["input_ids"]  # noqa: E731
            writer = ServedModel(pool, name, encode, model.stops)
            await writer.write(REQUESTS, GREEDY, lambda one, ids: found.update({one.name: ids}))

    asyncio.run(ask())
    return [found[one.name] for one in REQUESTS]


def written(model: LanguageModel) -> list[list[int]]:
    return model.continued([one.prompt for one in REQUESTS], [1, 2, 3], GREEDY)


def test_an_adapter_beside_its_base_writes_there_what_it_writes_here(parts, tmp_path):
    base, adapter = str(parts / "base"), str(parts / "adapter")
    lora = ("--enable-lora", "--max-lora-rank", "32", "--lora-modules", f"{NAME}={adapter}")
    ours = LanguageModel.from_pretrained(base, adapter)
    alone = LanguageModel.from_pretrained(base)
    with Vllm(parts / "base", tmp_path / "log", *lora, "--served-model-name", "base") as url:
        assert served(url, ours, NAME) == written(ours)
        assert served(url, alone, "base") == written(alone)
    assert written(ours) != written(alone)


def test_the_two_merged_write_there_what_they_write_here(parts, tmp_path):
    ours = LanguageModel.from_pretrained(str(parts / "merged"))
    with Vllm(parts / "merged", tmp_path / "log") as url:
        assert served(url, ours, None) == written(ours)
