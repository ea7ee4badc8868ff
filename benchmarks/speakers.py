"""Whether the builtin voice's speakers are told apart, and what of that the rule of clips sees.

    .venv/bin/python -m benchmarks.speakers

Every speaker of the bundled `speakers.yaml` says six sentences at the points of the twelve anchors,
two sentences at each. Each clip is compared, by the network that the rule `other_speaker` asks,
with the references of all speakers. Prints and writes `speakers.json` beside this file: by speaker
the mean F0, the mean likeness of clips to the own references and to those of the nearest other, and
the share of clips that are nearest to their own; who is taken for whom; and at some limits of the
rule how many right clips it would refuse, and how many clips of another speaker. About five minutes
on two cores.
"""

import json
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.voice import cpu_name
from corpus.plan.prompt_files import BUNDLED, load_prompts
from corpus.sound.clip_audio import encode_flac, measure
from corpus.sound.clip_rejection_rules import HeardClip, clip_rules, judge
from corpus.sound.prosody import prosody
from corpus.sound.speaker_likeness import NETWORK, embedding
from corpus.voices.builtin_processes import spoken
from schemas.prompts import BuiltinSpeaker, Speaker

RESULT = Path(__file__).with_suffix(".json")
SENTENCES = (
    "Write down what you need and leave the rest for tomorrow.",
    "A long walk by the river would do both of you some good.",
    "I can not believe it is raining again, what a mess this is!",
    "Does she need a permit to set up a fan close to the shelf?",
    "Keep the plant near the window and water it every other day.",
    "Put the rice in cold water first, and stir it only once.",
)
LIMITS = (0.0, 0.05, 0.1, 0.15, 0.2)
SHOWN = 0.01
"""Share of a speaker's clips from which on it is said whom they are taken for."""

Job = tuple[str, BuiltinSpeaker, float, float, int]


def heard(job: Job) -> tuple[np.ndarray, float | None, str | None]:
    """Of one clip the embedding, the mean F0 in Hz, and the rule that refuses it."""
    text, speaker, valence, arousal, seed = job
    sound = spoken(text, speaker=speaker, valence=valence, arousal=arousal, seed=seed)
    clip = encode_flac(sound)
    refused = judge(clip_rules({}), HeardClip(measure(clip), len(text.split()))).reason
    return embedding(clip), prosody(sound).f0_mean, refused


def shares(margins: np.ndarray, swapped: np.ndarray) -> dict[str, dict[str, float]]:
    """By limit the share of right clips and of swapped ones that a rule would refuse."""
    return {
        f"{limit:g}": {
            "right": round(float((margins > limit).mean()), 4),
            "swapped": round(float((swapped > limit).mean()), 4),
        }
        for limit in LIMITS
    }


def told(speakers: tuple[Speaker, ...], likeness: np.ndarray, f0: np.ndarray) -> dict[str, Any]:
    """What came of each speaker's clips; likeness [speaker, clip, other], F0 [speaker, clip]."""
    found: dict[str, Any] = {}
    names = [speaker.name for speaker in speakers]
    for own, speaker in enumerate(speakers):
        nearest = Counter(names[n] for n in likeness[own].argmax(axis=1))
        count = likeness.shape[1]
        means = likeness[own].mean(axis=0)
        other = max((n for n in range(len(names)) if n != own), key=lambda n: means[n])
        found[speaker.name] = {
            "gender": speaker.gender,
            "age": speaker.age,
            "f0_hz": round(float(np.nanmean(f0[own])), 1),
            "likeness_to_own": round(float(means[own]), 3),
            "likeness_to_nearest_other": [names[other], round(float(means[other]), 3)],
            "told_rightly": round(nearest[speaker.name] / count, 3),
            "taken_for": {
                name: round(n / count, 3)
                for name, n in nearest.most_common()
                if name != speaker.name and n / count >= SHOWN
            },
        }
    return found


def main() -> None:
    """Measures, prints and writes."""
    prompts = load_prompts(BUNDLED, "full", ("speakers",))
    assert prompts.speaker_file is not None
    speakers, references = prompts.speakers, prompts.speaker_file.references
    points = [(anchor.valence, anchor.arousal) for anchor in prompts.anchors]
    known: list[Job] = [
        (text, speaker.builtin, said.delivery.valence, said.delivery.arousal, n)
        for speaker in speakers
        for said in references.manners
        for n, text in enumerate(references.texts)
    ]
    asked: list[Job] = [
        (SENTENCES[(2 * n + k) % len(SENTENCES)], speaker.builtin, *point, 10 * n + k)
        for speaker in speakers
        for n, point in enumerate(points)
        for k in range(2)
    ]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        clips = list(pool.map(heard, known + asked, chunksize=8))
    vectors = np.stack([clip[0] for clip in clips])
    of_reference = vectors[: len(known)].reshape(len(speakers), -1, vectors.shape[1])
    of_clip = vectors[len(known) :].reshape(len(speakers), -1, vectors.shape[1])
    likeness = np.einsum("scd,ord->scor", of_clip, of_reference).max(axis=3)
    f0 = np.array([clip[1] or np.nan for clip in clips[len(known) :]]).reshape(len(speakers), -1)
    margins, swapped = margins_of(likeness)
    result = {
        "cpu": cpu_name(),
        "network": NETWORK,
        "clips": len(asked),
        "told_rightly": round(float((margins < 0).mean()), 3),
        "largest_margin": round(float(margins.max()), 3),
        "refused_at": shares(margins, swapped),
        "refused_by_other_rules": dict(Counter(clip[2] for clip in clips if clip[2])),
        "speakers": told(speakers, likeness, f0),
    }
    text = json.dumps(result, indent=2)
    RESULT.write_text(text + "\n")
    print(text)


def margins_of(likeness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rule's measure of every clip as its own speaker's, and as each other speaker's."""
    right, swapped = [], []
    for own in range(likeness.shape[0]):
        for claimed in range(likeness.shape[2]):
            others = np.delete(likeness[own], claimed, axis=1).max(axis=1)
            margin = others - likeness[own][:, claimed]
            (right if claimed == own else swapped).append(margin)
    return np.concatenate(right), np.concatenate(swapped)


if __name__ == "__main__":
    main()
