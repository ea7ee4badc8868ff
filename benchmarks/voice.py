"""What the builtin voice costs, and what it costs to look at a clip and to listen to it.

    .venv/bin/python -m benchmarks.voice

Speaks 96 sentences, eight at the point of each of the twelve published anchors, and prints and
writes `voice.json` beside this file: the real-time factor on one and on two processes, and the cost
per second of sound of the checks with finishing, of the prosody features by two trackers of F0, of
the recogniser and, where it is installed, of DNSMOS. About three minutes on two cores. How the
styles sound and whether every word is heard is in `benchmarks/speech_run.py`.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyworld
import yaml

from corpus.plan.prompt_files import BUNDLED
from corpus.sound import dnsmos, speech_recognition
from corpus.sound.clip_audio import encode_wav, finish
from corpus.sound.prosody import F0_CEILING, F0_FLOOR, prosody
from corpus.sound.sound_files import decode
from corpus.voices.builtin_synthesis import SPEAKERS, Voice
from schemas.audio import SAMPLE_RATE
from schemas.prompts import AnchorFile

RESULT = Path(__file__).with_suffix(".json")
PLAIN_LOUDNESS = -23.0
LISTENED_TO = 24
"""Clips for what takes long: harvest, the recogniser, DNSMOS."""

Job = tuple[str, str, float, float, int]

_voices: list[Voice] = []


def speak(job: Job) -> bytes:
    """One clip as a voice gives it, spoken by this process's voice."""
    if not _voices:
        _voices.append(Voice())
    text, speaker, valence, arousal, seed = job
    said = _voices[0].speak(text, speaker=speaker, valence=valence, arousal=arousal, seed=seed)
    return encode_wav(said)


def cpu_name() -> str:
    """The processor's model name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def cpu_ms_per_second(act: Callable[[Any], object], clips: list[Any], seconds: float) -> float:
    """CPU milliseconds per second of sound of an act on each clip; loading is not counted."""
    act(clips[0])
    begun = time.process_time()
    for clip in clips:
        act(clip)
    return round(1e3 * (time.process_time() - begun) / seconds, 3)


def harvest(samples: np.ndarray) -> None:
    """The other tracker of F0 that comes with WORLD."""
    pyworld.harvest(samples.astype(np.float64), SAMPLE_RATE, f0_floor=F0_FLOOR, f0_ceil=F0_CEILING)


def listened_to(clips: list[bytes]) -> dict[str, float]:
    """What it costs to listen to clips, CPU milliseconds per second of sound."""
    sounds = [decode(clip)[0][:, 0] for clip in clips]
    some = sounds[:LISTENED_TO]
    seconds = sum(map(len, sounds)) / SAMPLE_RATE
    seconds_of_some = sum(map(len, some)) / SAMPLE_RATE
    costs = {
        "prosody": cpu_ms_per_second(prosody, sounds, seconds),
        "f0_by_harvest": cpu_ms_per_second(harvest, some, seconds_of_some),
    }
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{n}.wav" for n in range(len(some))]
        for path, clip in zip(paths, clips, strict=False):
            path.write_bytes(clip)
        costs["recogniser"] = cpu_ms_per_second(
            speech_recognition.transcribe, paths, seconds_of_some
        )
        if find_spec("speechmos"):
            costs["dnsmos"] = cpu_ms_per_second(dnsmos.dnsmos, paths, seconds_of_some)
    return costs


def main() -> None:
    """Measures, prints and writes everything."""
    anchors = AnchorFile.model_validate(
        yaml.safe_load((BUNDLED / "anchors.yaml").read_text())
    ).anchors
    speaker = next(iter(SPEAKERS))
    points = [anchor.point for anchor in anchors]
    jobs: list[Job] = [
        (text, speaker, points[n % len(points)].valence, points[n % len(points)].arousal, n)
        for n, text in enumerate(SENTENCES)
    ]
    load = os.getloadavg()[0]
    speak(jobs[0])
    start, start_cpu = time.perf_counter(), time.process_time()
    clips = [speak(job) for job in jobs]
    alone, alone_cpu = time.perf_counter() - start, time.process_time() - start_cpu
    seconds = sum(len(decode(clip)[0]) for clip in clips) / SAMPLE_RATE
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(speak, jobs[:16]))  # both have loaded the voice
        start = time.perf_counter()
        again = list(pool.map(speak, jobs))
        together = time.perf_counter() - start
    result: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load_before": round(load, 1),  # wall-clock figures mean little above 1
        "clips": len(clips),
        "seconds_of_sound": round(seconds, 1),
        "real_time_factor_1_process": round(alone / seconds, 4),
        "cpu_seconds_per_second_of_sound": round(alone_cpu / seconds, 4),
        "real_time_factor_2_processes": round(together / seconds, 4),
        "identical_in_other_processes": again == clips,
        "cpu_ms_per_second_of_sound": {
            "checked_and_finished": cpu_ms_per_second(
                lambda clip: finish(clip, PLAIN_LOUDNESS), clips, seconds
            ),
            **listened_to(clips),
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


SENTENCES = (
    "Could you help me plan a simple dinner for six people this Saturday?",
    "I missed the bus again this morning. What is the quickest way to get downtown?",
    "How do I remove a coffee stain from a white cotton shirt?",
    "My landlord wants to raise the rent again. Is that even legal here?",
    "Tell me how to set up a monthly budget that I will actually follow.",
    "The doctor told me to walk more. How many steps should I aim for each day?",
    "I just finished reading that novel you mentioned. Can you suggest another one like it?",
    "What should I pack for a weekend hike in the mountains?",
    "My sister is getting married in June and I have to give a speech.",
    "Is it better to study in the evening or early in the morning?",
    "The new phone keeps freezing whenever I open the camera.",
    "Can you explain how compound interest works in plain words?",
    "We have three hours in the city before our train leaves. What should we see?",
    "My neighbor plays loud music every night until dawn.",
    "How long should I boil an egg if I want the yolk to stay soft?",
    "I have a job interview tomorrow morning. How should I prepare tonight?",
    "The garden is full of weeds after all this rain.",
    "What is a good way to learn the guitar without a teacher?",
    "My son refuses to do his homework after school. What can I try?",
    "They moved our flight and nobody at the desk could tell us why.",
    "Please recommend a quiet place to work near the river.",
    "I have been saving for a car for two years. Should I buy a used one?",
    "Why does my bread always turn out so heavy and flat?",
    "The match went into extra time and we won by a single goal.",
    "How can I tell whether this mushroom is safe to eat?",
    "My boss changed the deadline again without asking any of us.",
    "I want to paint the kitchen this weekend. Which shade makes a small room look bigger?",
    "Do you know a gentle stretch for a stiff lower back?",
    "The cat knocked a plant off the shelf while we were out.",
    "Our first baby is due in March, and we still need a name.",
    "Can you walk me through changing a flat tire on the side of the road?",
    "What time should I leave if the concert starts at noon?",
    "I spilled water on my laptop this morning and now it will not start.",
    "Give me some ideas for a birthday present for my father.",
    "There was a long queue at the bank and only one window was open.",
    "How do people stay awake on the night shift?",
    "I moved to a new town last month and I do not know anyone yet.",
    "Which vegetables can I plant in the shade behind the house?",
    "The hotel lost our booking and sent us across the city at midnight.",
    "How do I ask my manager for a raise without sounding greedy?",
    "My grandmother taught me to knit when I was seven.",
    "Can you help me write a short note to thank my teacher?",
    "Somebody left the fridge open all night and the milk is warm.",
    "What is the difference between a virus and a bacteria?",
    "I am thinking about running a half marathon in October. Where do I begin?",
    "My best friend has not answered my messages for a week.",
    "The washing machine shakes so hard that it moves across the floor.",
    "Could we go over the plan for the move one more time?",
    "I found a box of old letters in the attic yesterday.",
    "How much water does a lemon tree need in summer?",
    "The traffic on the bridge was terrible and I lost an hour.",
    "What games can we play with eight people on a rainy afternoon?",
    "I got the results of my blood test this morning. What does high cholesterol mean?",
    "My roommate never washes the dishes. How do I bring it up?",
    "The lake was frozen and we could walk all the way to the island.",
    "Are there any good films for children in the cinema this week?",
    "I have to choose between two universities before Friday.",
    "How often should I change the oil in my car?",
    "Someone at work told everyone about my private life.",
    "Let us make a list of everything we need for the picnic.",
    "I cooked the soup exactly as it said, and it tastes of nothing.",
    "The dentist found two cavities, and I have to go back next week.",
    "How can I keep my passwords safe without writing them down?",
    "We drove along the coast with the windows open and the radio on.",
    "My daughter wants a dog. What should we think about before we say yes?",
    "What does the weather look like for the rest of the week?",
    "I have read the same page four times and I still do not understand it.",
    "The bakery on the corner is closing after a lifetime.",
    "Can you suggest a light breakfast that keeps me full until lunch?",
    "My train was delayed, so I walked through the old part of the city.",
    "How do I take better photographs of people indoors?",
    "The company sent me the wrong size and will not take it back.",
    "I would like to volunteer somewhere near my home. Where do I look?",
    "A strange smell is coming from the basement.",
    "What should I say to a friend who has lost her father?",
    "We planted an apple tree the year I was born.",
    "My phone bill doubled this month, and nobody can explain it.",
    "How do I get my toddler to sleep in his own bed?",
    "The choir sang so well that the whole room stood up.",
    "I need to return a library book that I borrowed in the spring.",
    "Is there a polite way to leave a party early?",
    "The snow came in the night and covered the whole valley.",
    "Why do my tomatoes split before they are ripe?",
    "My brother borrowed my bike and brought it back with a bent wheel.",
    "Could you read me the steps for this recipe one by one?",
    "I signed up for a dance class, and the first lesson is tonight.",
    "The heating broke on the coldest day of the year.",
    "How do I explain to my kids that we are moving away?",
    "I counted the money twice and there is still some missing.",
    "What is the best season to visit the north of the country?",
    "The river rose overnight and the path is flooded.",
    "My old school invited me to talk about my work.",
    "Can I freeze rice after it has been cooked?",
    "We waited for two hours, and then the band played only three songs.",
    "How should I store my winter clothes during the summer?",
    "The puppy slept on my shoes all afternoon.",
)


if __name__ == "__main__":
    main()
