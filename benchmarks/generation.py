"""How fast the adapted model writes a response, and how long one takes from speech to speech.

    .venv/bin/python -m benchmarks.generation [--device cuda:0] [--write]

Random weights: of the published size on a GPU, tiny on a CPU, where this only shows that it runs.
Tokens a second, by the number of responses made together, with an adapter and without, from prompts
of a query of 5 s; each the second time. What writes one token at a time reads all weights for each
step, so `of_limit` is the share of the steps a second that the memory would allow: the rate of a
large copy (bytes read and written), measured in the same run, by the bytes of the weights. Without
the cache of keys and values each step computes all positions anew.

`reply` is one question of 5 s answered with 10 s of speech: seconds in each network.

With --write the figures go to `generation.json` beside this file, under `cpu` or `gpu`; what stands
there of the other stays.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from corpus.adapter.chatglm.config import ChatGLMConfig
from corpus.adapter.inference.language_model import LanguageModel, Sampling
from corpus.adapter.model import ChatGLMForCausalLM
from corpus.adapter.prompt_template import prompt
from corpus.adapter.speech_decoder import SpeechDecoder
from corpus.adapter.speech_tokens import RATE, SpeechTokenizer
from corpus.adapter.text_tokenizer import load_tokenizer
from corpus.adapter.tiny import PUBLISHED_CODES, make_base, make_speech_decoder
from corpus.adapter.tiny import make_speech_tokenizer as make_tokenizer
from schemas.recipe import Adapter

RESULT = Path(__file__).with_suffix(".json")
QUERY_SECONDS, REPLY_SECONDS, TOKENS_A_SECOND = 5, 10, 12.5
REPLY_TEXT = 35
"""Text tokens of a reply of 10 s: 25 words."""


def timed(work: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """What came of it, and the seconds until the device was done."""
    begun = time.perf_counter()
    made = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return made, time.perf_counter() - begun


def copied_bytes_per_second(device: torch.device) -> float:
    """What the memory reads and writes when a large array is copied."""
    size = 2**32 if device.type == "cuda" else 2**27
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    _, seconds = timed(lambda: [target.copy_(source) for _ in range(5)], device)
    return 5 * 2 * size / seconds


def language_model(device: torch.device, folder: Path, *, adapted: bool) -> LanguageModel:
    """Random weights of the published size on a GPU, else tiny."""
    cuda = device.type == "cuda"
    make_base(folder, codes=PUBLISHED_CODES if cuda else 256)
    tokenizer = load_tokenizer(folder)
    torch.set_default_dtype(torch.bfloat16 if cuda else torch.float32)
    with device:
        model = ChatGLMForCausalLM(
            ChatGLMConfig() if cuda else ChatGLMConfig.from_pretrained(folder)
        )
    torch.set_default_dtype(torch.float32)
    if adapted:
        settings = Adapter()
        lora = LoraConfig(
            r=settings.r, lora_alpha=settings.alpha, target_modules=list(settings.target_modules)
        )
        model = get_peft_model(model, lora, autocast_adapter_dtype=False)
    return LanguageModel(model, tokenizer, device)


def rates(model: LanguageModel, copied: float, tokens: int) -> dict[str, Any]:
    """Tokens a second by batch."""
    table = model._model.get_input_embeddings().weight.nbytes  # of which a step reads a few rows
    weights = sum(p.nbytes for p in model._model.parameters()) - table
    asked = prompt(range(round(QUERY_SECONDS * TOKENS_A_SECOND)), (0.5, 0.5))
    found = {}
    for batch in (1, 8, 32):
        prompts, seeds = [asked] * batch, list(range(batch))
        model.continued(prompts, seeds, Sampling(max_new_tokens=tokens))
        write = partial(model.continued, prompts, seeds)
        first = timed(partial(write, Sampling(max_new_tokens=1)), model.device)[1]
        made, seconds = timed(partial(write, Sampling(max_new_tokens=tokens)), model.device)
        steps = max(map(len, made))
        found[str(batch)] = {
            "tokens_per_second": round(sum(map(len, made)) / seconds, 1),
            "milliseconds_to_first": round(1e3 * first, 1),
            "milliseconds_per_step": round(1e3 * (seconds - first) / max(steps - 1, 1), 2),
            "of_limit": round(weights * (steps - 1) / (seconds - first) / copied, 3),
        }
    return found


def uncached(model: LanguageModel, tokens: int) -> float:
    """Tokens a second of one response when each step computes everything anew."""
    asked = prompt(range(round(QUERY_SECONDS * TOKENS_A_SECOND)), (0.5, 0.5))
    ids = model.tokenizer(asked, return_tensors="pt")["input_ids"].to(model.device)

    def work() -> None:
        nonlocal ids
        with torch.inference_mode():
            for _ in range(tokens):
                logits = model._model(input_ids=ids, logits_to_keep=1).logits
                ids = torch.cat((ids, logits[:, -1:].argmax(-1)), dim=1)

    return round(tokens / timed(work, model.device)[1], 2)


def reply(model: LanguageModel, folder: Path) -> dict[str, float]:
    """Seconds from a question of 5 s to 10 s of speech, the second time."""
    cuda, device = model.device.type == "cuda", str(model.device)
    make_tokenizer(folder / "tokenizer", published_size=cuda)
    make_speech_decoder(folder / "decoder", published_size=cuda)
    ear = SpeechTokenizer.from_pretrained(folder / "tokenizer", device)
    mouth = SpeechDecoder.from_pretrained(folder / "decoder", device)
    question = torch.randn(QUERY_SECONDS * RATE) * 0.1
    spoken = round(REPLY_SECONDS * TOKENS_A_SECOND)
    answer = np.random.default_rng(0).integers(0, mouth.codes, spoken)
    written = Sampling(max_new_tokens=REPLY_TEXT + spoken)
    found: dict[str, float] = {}
    for _ in range(2):
        (heard,), found["hearing"] = timed(
            lambda: ear.encode([question], sampling_rate=RATE), model.device
        )
        asked = prompt(heard, (0.5, 0.5))
        _, found["writing"] = timed(partial(model.continued, [asked], [0], written), model.device)
        _, found["speaking"] = timed(lambda: mouth.decode([answer]), model.device)
    found["all"] = sum(found[part] for part in ("hearing", "writing", "speaking"))
    return {name: round(seconds, 3) for name, seconds in found.items()}


def main() -> None:
    """Measures, prints, and writes down if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tokens", type=int, default=160, help="of a response")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    device = torch.device(given.device)
    cuda = device.type == "cuda"
    copied = copied_bytes_per_second(device)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if cuda else platform.machine(),
        "torch": torch.__version__,
        "size": "published, random weights" if cuda else "tiny: it runs, and no more",
        "copied_gb_per_second": round(copied / 1e9, 1),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for adapted in (False, True):
            model = language_model(device, folder / "base", adapted=adapted)
            result["with adapter" if adapted else "base"] = rates(model, copied, given.tokens)
            if not adapted:
                result["without cache, one at a time"] = uncached(model, given.tokens // 8)
                result["reply"] = reply(model, folder)
            del model
            if cuda:
                torch.cuda.empty_cache()
    if cuda:
        result["peak_memory_gb"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 1)
    print(json.dumps(result, indent=2))
    if given.write:
        kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        kept["gpu" if cuda else "cpu"] = result
        RESULT.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
