"""What is measured of clips that a voice really said, and that it is measured once."""

import json
import os

import numpy as np
import pytest

from corpus.evaluation.clip_measures import measured
from corpus.evaluation.measures.intelligibility import intelligibility
from corpus.evaluation.measures.naturalness import naturalness
from corpus.evaluation.systems import open_systems
from corpus.sound.clip_audio import encode_wav
from corpus.voices.builtin_synthesis import Voice
from schemas.recipe_evaluation import Evaluation

SAID = {
    "sad": "I am so sorry that your train was late again.",
    "angry": "That is unfair, and you may ask for your money back.",
    "happy": "What great news, and what a lovely way to start the day.",
}
KINDS = frozenset({"prosody", "words", "naturalness"})


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A folder of three clips, and the same again at another rate and with noise."""
    folder = tmp_path_factory.mktemp("spoken")
    voice, draw = Voice(), np.random.default_rng(0)
    for name in ("clean", "at-16k", "noisy"):
        (folder / name).mkdir()
        lines = []
        for emotion, text in SAID.items():
            samples = voice.speak(text, speaker="heron", valence=0.0, arousal=0.0, seed=0)
            if name == "noisy":
                samples = samples + draw.normal(0, 0.15, len(samples)).astype(np.float32)
                samples = samples / np.abs(samples).max()
            if name == "at-16k":
                samples = np.interp(
                    np.arange(0, len(samples), 1.5), np.arange(len(samples)), samples
                ).astype(np.float32)
            rate = 16_000 if name == "at-16k" else 24_000
            (folder / name / f"{emotion}.wav").write_bytes(encode_wav(samples, rate))
            line = {"file": f"{emotion}.wav", "emotion": emotion, "query_id": "q", "text": text}
            lines.append(json.dumps(line))
        (folder / name / "manifest.jsonl").write_text("\n".join(lines))
    return folder


def rows_of(folder, bench, kinds=KINDS):
    (system,) = open_systems([folder], Evaluation())
    bench.progress.begin("clips", {system.name: len(system.rows)})
    return measured(system, kinds, bench)


def test_clips_are_understood_and_noise_in_them_raises_the_word_error_rate(spoken, bench):
    clean = rows_of(spoken / "clean", bench)
    assert clean["problem"].isna().all() and (clean["seconds"] > 1.5).all()
    assert (clean["mos"] > 3.0).all()
    low = intelligibility(clean, bench)["wer_corpus"]
    noisy = rows_of(spoken / "noisy", bench)
    high = intelligibility(noisy, bench)["wer_corpus"]
    assert low < 0.1 < high
    ratings = [naturalness(rows, bench)["distillmos"]["all"]["mean"] for rows in (clean, noisy)]
    assert ratings[0] > ratings[1] + 0.5


def test_systems_of_different_rates_are_measured_at_one(spoken, bench):
    here, there = (
        rows_of(spoken / one, bench, frozenset({"prosody"})) for one in ("clean", "at-16k")
    )
    assert there["f0_mean"].to_numpy() == pytest.approx(here["f0_mean"].to_numpy(), rel=0.03)
    assert there["rate"].to_numpy() == pytest.approx(here["rate"].to_numpy(), rel=0.01)


def test_what_was_measured_is_not_measured_again(spoken, bench, monkeypatch):
    first = rows_of(spoken / "clean", bench, frozenset({"prosody"}))
    asked = []
    monkeypatch.setattr(bench.workers, "submit", lambda *call: asked.append(call), raising=False)
    again = rows_of(spoken / "clean", bench, frozenset({"prosody"}))
    assert asked == [] and again.equals(first)


def test_a_clip_that_is_missing_or_no_sound_is_told_as_that(spoken, tmp_path, bench):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for path in (spoken / "clean").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    os.truncate(folder / "sad.wav", 500)
    (folder / "angry.wav").unlink()
    rows = rows_of(folder, bench)
    assert rows["problem"].fillna("").to_dict() == {
        "q-sad": "undecodable", "q-angry": "no_sound", "q-happy": ""
    }  # fmt: skip
    found = intelligibility(rows, bench)
    assert found["failures"] == 2 and found["wer_corpus"] > 0.6
