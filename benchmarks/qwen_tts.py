"""How many seconds of speech Qwen3-TTS makes a second, by batch size, and where the time goes.

    .venv-qwen-tts/bin/python -m benchmarks.qwen_tts [--device cuda:0] [--model DIR] [--write]

Speaks batches of one sentence with the server's own engine (`corpus.voices.qwen_model`), after one
to warm up. Without --model the weights are random: at the size of the published 1.7B model on a
GPU, tiny on a CPU, where this only shows that it runs. Such a model of full size never ends a clip,
so every clip of a batch is as long as --seconds, as none of real weights would be; speech of unlike
length leaves part of each batch idle, which `filled` shows.

Prints JSON: for each batch size the seconds of audio per second, the milliseconds of one step (one
frame, 80 ms, of every clip in the batch), the shares of the three networks, the peak of the GPU's
memory. If the time of a step does not grow with the batch, it is bound by the number of small
kernels that are launched one after the other (104 layers a frame), and a larger batch is free.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from corpus.voices.qwen_model import Model, Utterance
from schemas.audio import SAMPLE_RATE

RESULT = Path(__file__).with_suffix(".json")
TEXT = (
    "I have been thinking about what you said last night, and I would like to talk it over once "
    "more before we decide anything about the house."
)
STYLE = "Very sad."


def main() -> None:
    """Measures, prints, and writes if asked to."""
    asked = argparse.ArgumentParser(description="Seconds of speech per second, by batch size.")
    asked.add_argument("--model", help="a folder; made with random weights if not given")
    asked.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    asked.add_argument("--batches", default="1,2,4,8,16,32")
    asked.add_argument("--seconds", type=float, default=10.0, help="most of a clip")
    asked.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Model(options.model or random_model(Path(folder), options.device), options.device)
    gpu = options.device.startswith("cuda")
    if gpu:
        torch.cuda.set_device(options.device)
    frame = model.samples_per_frame / SAMPLE_RATE
    frames = round(options.seconds / frame)
    measure(model, 1, min(frames, 8))
    found = {
        "device": torch.cuda.get_device_name(options.device)
        if gpu
        else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "threads": None if gpu else torch.get_num_threads(),
        "weights": "given" if options.model else "random, 1.7B" if gpu else "random, tiny",
        "longest_seconds": frames * frame,
        "batches": [measure(model, int(size), frames) for size in options.batches.split(",")],
    }
    told = json.dumps(found, indent=2) + "\n"
    sys.stdout.write(told)
    if options.write:
        RESULT.write_text(told)


def random_model(folder: Path, device: str) -> str:
    """A model folder with random weights."""
    from tests.qwen_tts import make_checkpoint

    make_checkpoint.main(folder, full=device.startswith("cuda"))
    return str(folder)


def measure(model: Model, size: int, frames: int) -> dict[str, Any]:
    """One batch of so many clips, none longer than so many frames."""
    batch = [
        Utterance(TEXT, model.facts.speakers[0], "english", STYLE, seed, frames + 1, "wav")
        for seed in range(size)
    ]
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    with timed(model) as spent:
        begun = clock()
        made = model.speak(batch)
        seconds = clock() - begun
    steps = max(one.frames for one in made)
    spoken = sum(one.frames for one in made)
    audio = spoken * model.samples_per_frame / SAMPLE_RATE
    return {
        "batch": size,
        "audio_seconds": round(audio, 2),
        "seconds": round(seconds, 3),
        "audio_seconds_per_second": round(audio / seconds, 2),
        "milliseconds_per_step": round(1000 * (seconds - spent["codec"]) / steps, 2),
        "filled": round(spoken / (steps * size), 3),
        "share_of_code_predictor": round(spent["predictor"] / seconds, 3),
        "share_of_codec": round(spent["codec"] / seconds, 3),
        "gigabytes": round(torch.cuda.max_memory_allocated() / 1e9, 2) if gpu else None,
    }


@contextmanager
def timed(model: Model) -> Iterator[dict[str, float]]:
    """Counts the seconds in the code predictor and in the codec; the rest is the talker's."""
    spent = {"predictor": 0.0, "codec": 0.0}
    network = model._model.model
    owners = (
        ("predictor", network.talker.code_predictor, "generate"),
        ("codec", network.speech_tokenizer, "decode"),
    )
    for name, owner, method in owners:
        setattr(owner, method, counted(getattr(owner, method), spent, name))
    try:
        yield spent
    finally:
        for _, owner, method in owners:
            delattr(owner, method)  # the class's own shows again


def counted(call: Callable[..., Any], spent: dict[str, float], name: str) -> Callable[..., Any]:
    """The same call, whose time is added up."""

    def timed_call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        begun = clock()
        result = call(*arguments, **named)
        spent[name] += clock() - begun
        return result

    return timed_call


def clock() -> float:
    """Seconds, when all that was asked of the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
