"""How fast the adapter is trained and speech is tokenized, and how much of the hardware that uses.

    .venv/bin/python -m benchmarks.adapter [--device cuda:0] [--write]

On a GPU the models have the published sizes and random weights; on a CPU they are tiny, where this
only shows that it runs. One step (forward, backward, AdamW on the adapter) of several shapes, each
after one to warm up:

- `published`: one sample of 700 tokens, as the published recipe trains;
- `padded`: the same padded to 2,048;
- `packed 2k`, `4k`, `8k`: as many samples of 700 tokens as fit, and the rest of one;
- `checkpointed 16k`: the same with gradient checkpointing.

Tokens a second are those of samples, never of padding. `mfu` is the share of the device's peak: of
the rate of a large matrix product, measured in the same run (`peak_tflops`). Its FLOPs are
four for each frozen weight, six for each of the adapter's, and attention's; what
checkpointing computes twice is not counted. Speech: seconds of sound tokenized a second, by batch.

With --write the figures go to `adapter.json` beside this file.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from corpus.adapter.chatglm.config import ChatGLMConfig
from corpus.adapter.model import IGNORED, ChatGLMForCausalLM
from corpus.adapter.speech_tokens import RATE, SEGMENT_SECONDS, SpeechTokenizer
from corpus.adapter.tiny import make_speech_tokenizer
from corpus.adapter.training.lora_training import lora_model
from schemas.recipe import Adapter

RESULT = Path(__file__).with_suffix(".json")
SAMPLE = 700
SHAPES = {
    "published": (SAMPLE, SAMPLE, False),
    "padded": (SAMPLE, 2048, False),
    "packed 2k": (2048, 2048, False),
    "packed 4k": (4096, 4096, False),
    "packed 8k": (8192, 8192, False),
    "checkpointed 16k": (16384, 16384, True),
}
"""Tokens of samples in a row, tokens of the row, gradient checkpointing."""
TINY_SHARE = 16
"""On a CPU every shape is so many times shorter."""


def row(real: int, length: int, sample: int, vocabulary: int) -> dict[str, torch.Tensor]:
    """A row of samples of `sample` tokens, the last one shorter, and padding."""
    sizes = [sample] * (real // sample) + ([real % sample] if real % sample else [])
    ids = torch.randint(vocabulary, (1, length))
    positions = torch.cat([torch.arange(size) for size in (*sizes, length - real)])[None]
    labels = ids.clone()
    labels[positions == 0] = IGNORED
    labels[:, real:] = IGNORED
    return {"input_ids": ids, "position_ids": positions, "labels": labels}


def timed(work: Callable[[], None], steps: int, device: torch.device) -> float:
    """Seconds of one piece of work, the mean of some after one to warm up."""
    work()
    _wait(device)
    begun = time.perf_counter()
    for _ in range(steps):
        work()
    _wait(device)
    return (time.perf_counter() - begun) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_tflops(device: torch.device, steps: int) -> float:
    """What a matrix product gets out of the device, in the type that is trained in."""
    cuda = device.type == "cuda"
    size, dtype = (8192, torch.bfloat16) if cuda else (1024, torch.float32)
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / timed(lambda: one @ other, steps, device) / 1e12


def training(device: torch.device, steps: int, attention: str) -> dict[str, Any]:
    """Every shape."""
    cuda = device.type == "cuda"
    small = {} if cuda else {"num_layers": 3, "hidden_size": 64, "ffn_hidden_size": 96}
    small |= {} if cuda else {"kv_channels": 16, "num_attention_heads": 4, "padded_vocab_size": 640}
    peak = peak_tflops(device, steps)
    found: dict[str, Any] = {"peak_tflops": round(peak, 3)}
    torch.set_default_dtype(torch.bfloat16 if cuda else torch.float32)
    with device:
        base = ChatGLMForCausalLM(ChatGLMConfig(**small))
    torch.set_default_dtype(torch.float32)
    base.set_attn_implementation(attention)
    settings = Adapter()
    lora = lora_model(base, settings)
    model = lora.peft.train()
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    for name, (real, length, checkpointed) in SHAPES.items():
        scale = 1 if cuda else TINY_SHARE
        batch = row(real // scale, length // scale, SAMPLE // scale, base.config.vocab_size)
        batch = {key: value.to(device) for key, value in batch.items()}
        if checkpointed:
            base.enable_input_require_grads()
            base.gradient_checkpointing_enable({"use_reentrant": False})

        def step(batch: dict[str, torch.Tensor] = batch) -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
                model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
        try:
            seconds = timed(step, steps, device)
        except torch.OutOfMemoryError:
            found[name] = "out of memory"
            optimizer.zero_grad()
            continue
        tokens = real // scale
        looks = int((batch["position_ids"][0, :tokens] + 1).sum())
        flops = tokens * lora.flops_per_token + looks * lora.flops_per_look
        found[name] = {
            "tokens_per_second": round(tokens / seconds, 1),
            "mfu": round(flops / seconds / 1e12 / peak, 5),
            "milliseconds": round(1e3 * seconds, 1),
        }
        if cuda:
            memory = torch.cuda.max_memory_allocated(device)
            found[name]["peak_memory_gb"] = round(memory / 1e9, 1)
    return found


def speech(device: torch.device, steps: int) -> dict[str, Any]:
    """Seconds of sound tokenized a second, by the number of segments of 30 s in a batch."""
    cuda = device.type == "cuda"
    with tempfile.TemporaryDirectory() as name:
        make_speech_tokenizer(Path(name), published_size=cuda)
        tokenizer = SpeechTokenizer.from_pretrained(name, str(device))
    found = {}
    for batch in (1, 8, 32) if cuda else (1, 4):
        sounds = [torch.randn(SEGMENT_SECONDS * RATE) * 0.1 for _ in range(batch)]

        def encode(sounds: list[torch.Tensor] = sounds, batch: int = batch) -> None:
            tokenizer.encode(sounds, sampling_rate=RATE, batch=batch)

        seconds = timed(encode, steps, device)
        found[str(batch)] = round(batch * SEGMENT_SECONDS / seconds, 1)
    return found


def main() -> None:
    """Measures, prints, and writes down if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--attention", default=Adapter().attention)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    device = torch.device(given.device)
    cuda = device.type == "cuda"
    result = {
        "device": torch.cuda.get_device_name(device) if cuda else platform.machine(),
        "torch": torch.__version__,
        "size": "published" if cuda else "tiny: it runs, and says nothing of a GPU",
        "attention": given.attention,
        "training": training(device, given.steps, given.attention),
        "speech_seconds_per_second_by_batch": speech(device, given.steps),
    }
    print(json.dumps(result, indent=2))
    if given.write:
        RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
