"""How long the speech decoder works for a second of sound.

    .venv/bin/python -m benchmarks.decoder [--device cuda:0] [--threads N] [--write]

The decoder has the published size and random weights, whose work is that of trained ones. Clips of
several lengths, each by itself: seconds for a second of sound (the real-time factor; below 1 it is
faster than it is heard) and how many of the CPU's that were, for the mel (twenty passes of the
U-Net) and the wave. Then clips of one length in batches. About a minute on a CPU.

Where others work on the same cores, the seconds of the CPU are what counts, of one thread: that is
the real-time factor of one core which nobody else uses. Several threads wait for each other. The
figures under `cpu` are of one thread on two cores that were shared; `load_before` says how much.

With --write the figures go to `decoder.json` beside this file, under `cpu` or `gpu`; what stands
there of the other stays.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from corpus.adapter.speech_decoder import SpeechDecoder
from corpus.adapter.tiny import make_speech_decoder

RESULT = Path(__file__).with_suffix(".json")
CLIPS = {"cpu": (12, 25), "cuda": (25, 125, 375, 2000)}
"""Tokens of a clip; 12.5 are a second."""
BATCHES = {"cpu": (25, (1, 4)), "cuda": (125, (1, 4, 8, 16, 32))}
"""Tokens of each clip, and how many are decoded together."""


class Cost(NamedTuple):
    """What a piece of work took, seconds: of the clock, and of the CPU."""

    clock: float
    cpu: float

    def per(self, sound: float) -> dict[str, float]:
        """The same for one second of sound."""
        return {
            "real_time_factor": round(self.clock / sound, 3),
            "cpu_seconds_per_second": round(self.cpu / sound, 3),
        }


def timed(work: Callable[[], Any]) -> tuple[Any, Cost]:
    """What a piece of work made, which is arrays, so that no device is still at it; its cost."""
    begun, used = time.perf_counter(), time.process_time()
    made = work()
    return made, Cost(time.perf_counter() - begun, time.process_time() - used)


def by_length(decoder: SpeechDecoder) -> dict[str, Any]:
    """Each clip by itself."""
    found = {}
    for length in CLIPS[decoder.device.type]:
        mel, for_mel = timed(partial(decoder.mel, _tokens(decoder, length)))
        wave, for_wave = timed(partial(decoder.wave, mel))
        sound = len(wave) / decoder.sampling_rate
        both = Cost(for_mel.clock + for_wave.clock, for_mel.cpu + for_wave.cpu)
        costs = {"mel": for_mel, "wave": for_wave, "both": both}
        found[f"{length} tokens"] = {
            "seconds_of_sound": round(sound, 2),
            **{part: cost.per(sound) for part, cost in costs.items()},
        }
    return found


def by_batch(decoder: SpeechDecoder) -> dict[str, Any]:
    """The same clips, decoded one after another and together."""
    length, batches = BATCHES[decoder.device.type]
    clips = [_tokens(decoder, length)] * max(batches)
    found: dict[str, Any] = {"tokens": length, "clips": len(clips)}
    for batch in batches:
        waves, cost = timed(partial(decoder.decode, clips, batch=batch))
        found[str(batch)] = cost.per(sum(map(len, waves)) / decoder.sampling_rate)
    return found


def _tokens(decoder: SpeechDecoder, length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, decoder.codes, length)


def measured(device: str, *, published_size: bool = True) -> dict[str, Any]:
    """All figures of a device."""
    with tempfile.TemporaryDirectory() as name:
        make_speech_decoder(Path(name), published_size=published_size)
        begun = time.perf_counter()
        decoder = SpeechDecoder.from_pretrained(name, device)
        loading = time.perf_counter() - begun
    decoder.decode([_tokens(decoder, 2)])  # to warm up
    result = {
        "device": _name(decoder.device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 1),
        "size": "published, random weights" if published_size else "tiny: it runs, and no more",
        "seconds_to_load": round(loading, 2),
        "by_length": by_length(decoder),
        "by_batch": by_batch(decoder),
    }
    if decoder.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(decoder.device)
        result["peak_memory_gb"] = round(memory / 1e9, 1)
    return result


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line for line in lines if line.startswith("model name")]
    return names[0].partition(": ")[2] if names else platform.machine()


def main() -> None:
    """Measures, prints, and writes down if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    result = measured(given.device)
    print(json.dumps(result, indent=2))
    if given.write:
        kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        kept["cpu" if given.device == "cpu" else "gpu"] = result
        RESULT.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
