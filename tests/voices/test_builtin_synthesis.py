"""The builtin voice, really spoken."""

import hashlib
import itertools
import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import pyworld

from corpus.errors import InvalidInput
from corpus.plan.prompt_files import BUNDLED, load_prompts
from corpus.sound.clip_audio import encode_flac, measure
from corpus.sound.speaker_likeness import embedding
from corpus.voices.affect_to_prosody import delivery
from corpus.voices.builtin_synthesis import (
    CEILING,
    SAMPLE_RATE,
    SPEAKERS,
    Unspeakable,
    Voice,
    text_problem,
)
from tests.support.clips import problem

SENTENCE = "I missed the bus again this morning. What is the quickest way to get downtown?"
QUERY, RESPONSE = SPEAKERS
NEUTRAL, ANGRY, SAD, EXCITED, TIRED = (
    (0.0, 0.0),
    (-0.85, 0.85),
    (-0.75, -0.65),
    (0.75, 0.90),
    (-0.15, -0.75),
)


@pytest.fixture(scope="module")
def voice():
    return Voice()


@pytest.fixture(scope="module")
def spoken(voice):
    """The sentence at a point, spoken once per module."""
    cache = {}

    def speak(point, speaker=QUERY):
        key = (point, speaker)
        if key not in cache:
            valence, arousal = point
            cache[key] = voice.speak(
                SENTENCE, speaker=speaker, valence=valence, arousal=arousal, seed=1
            )
        return cache[key]

    return speak


def pitch(samples):
    """F0 of the voiced frames in Hz, tracked in the sound itself."""
    sound = samples.astype(np.float64)
    f0, times = pyworld.dio(sound, SAMPLE_RATE, f0_floor=60.0, f0_ceil=600.0)
    f0 = pyworld.stonemask(sound, f0, times, SAMPLE_RATE)
    return f0[f0 > 0]


def level(samples):
    return measure(encode_flac(samples)).level


def centroid(samples):
    """Power-weighted mean frequency in Hz."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float((np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) * power).sum() / power.sum())


def test_gives_mono_float32_inside_the_ceiling(spoken):
    for point in (NEUTRAL, ANGRY, SAD):
        samples = spoken(point)
        assert samples.dtype == np.float32
        assert samples.ndim == 1
        assert np.abs(samples).max() <= CEILING


def digest(samples):
    return hashlib.sha256(samples.tobytes()).hexdigest()


def test_same_arguments_give_the_same_samples_whatever_was_spoken_before(voice, spoken):
    again = voice.speak(SENTENCE, speaker=QUERY, valence=ANGRY[0], arousal=ANGRY[1], seed=1)
    voice.speak("Zyx blorptang.", speaker=RESPONSE, valence=1.0, arousal=-1.0, seed=9)
    after = voice.speak(SENTENCE, speaker=QUERY, valence=ANGRY[0], arousal=ANGRY[1], seed=1)
    assert digest(again) == digest(after) == digest(spoken(ANGRY))


def test_same_arguments_give_the_same_samples_in_another_process(spoken):
    program = (
        "import hashlib; from corpus.voices.builtin_synthesis import Voice;"
        f"s = Voice().speak({SENTENCE!r}, speaker={QUERY!r}, valence=0.0, arousal=0.0, seed=1);"
        "print(hashlib.sha256(s.tobytes()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == digest(spoken(NEUTRAL))


def test_another_seed_changes_only_the_noise(voice, spoken):
    other = voice.speak(SENTENCE, speaker=QUERY, valence=0.0, arousal=0.0, seed=2)
    same = spoken(NEUTRAL)
    assert digest(other) != digest(same)
    assert abs(len(other) - len(same)) <= 0.05 * SAMPLE_RATE
    assert pitch(other).mean() == pytest.approx(pitch(same).mean(), rel=0.02)


def test_arousal_is_heard_in_pitch_range_level_rate_and_brightness(spoken):
    calm, plain, aroused = (spoken(point) for point in (SAD, NEUTRAL, ANGRY))
    for feature in (lambda s: pitch(s).mean(), lambda s: pitch(s).std(), level, centroid):
        assert feature(calm) < feature(plain) < feature(aroused)
    assert len(calm) > len(plain) > len(aroused)


def test_valence_is_heard_in_pitch(spoken):
    assert pitch(spoken(EXCITED)).mean() > pitch(spoken(ANGRY)).mean() * 1.1


def test_levels_are_those_of_the_delivery(spoken):
    for point in (NEUTRAL, SAD, TIRED):
        assert level(spoken(point)) == pytest.approx(delivery(*point).level, abs=1.0)


def test_the_second_speaker_is_seven_semitones_lower(spoken):
    ratio = pitch(spoken(NEUTRAL, RESPONSE)).mean() / pitch(spoken(NEUTRAL)).mean()
    assert 12 * math.log2(ratio) == pytest.approx(-7.0, abs=0.5)


def test_every_corner_of_the_plane_passes_the_clip_rules(voice):
    text = "Go on then, tell me what you think of it."
    for valence, arousal in itertools.product((-1.0, 1.0), (-1.0, 1.0)):
        for speaker in SPEAKERS:
            clip = voice.speak(text, speaker=speaker, valence=valence, arousal=arousal, seed=0)
            assert problem(encode_flac(clip), len(text.split())) is None


def test_sentences_are_joined_with_a_pause_that_depends_on_the_rate(voice):
    def gap(arousal):
        clip = voice.speak(
            "We waited all day. Nobody came.",
            speaker=QUERY,
            valence=0.0,
            arousal=arousal,
            seed=0,
        )
        return measure(encode_flac(clip)).longest_gap

    assert 0.25 < gap(0.9) < gap(-0.9) < 0.8


def test_numbers_money_and_abbreviations_are_spoken(voice):
    short = voice.speak("It costs.", speaker=QUERY, valence=0, arousal=0, seed=0)
    long = voice.speak(
        "It costs $9.99, i.e. 50% & more, at 7:30 pm on the 3rd.",
        speaker=QUERY,
        valence=0,
        arousal=0,
        seed=0,
    )
    assert len(long) > 5 * len(short)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no word"),
        ("  \n", "no word"),
        ("... ?!", "no word"),
        ("Hello there 👋", "U+1F44B"),
        ("I like it *very* much", "'*'"),
        ("Привет, how are you?", "U+041F"),
        ("[Hello](/həlO/)", "'['"),
        ("I have no $ left", "'$'"),
        ("It is $20-$30", "-$3"),
        ("A #tag", "'#'"),
        ("She is 5'9 tall", "5'9"),
        ("a" * 25, "a" * 25),
        ("word " * 1000, "5000 characters"),
    ],
)
def test_a_text_that_would_not_be_heard_whole_is_refused(voice, text, named):
    assert named in (text_problem(text) or "")
    with pytest.raises(Unspeakable) as refused:
        voice.speak(text, speaker=QUERY, valence=0.0, arousal=0.0, seed=0)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "\u201cNo,\u201d she said \u2014 and I\u2019m off\u2026",
        "The café costs €5, £6 or $7.50 (about 3 km away).",
        "cafe\u0301",
        "Call Dr. Smith at 10-12 on 2nd St. in the '90s; AT&T pays 20%.",
        "It's 25° out\nand 1/2 is gone.",
    ],
)
def test_everyday_texts_are_spoken(voice, text):
    assert text_problem(text) is None
    assert len(voice.speak(text, speaker=QUERY, valence=0.0, arousal=0.0, seed=0)) > SAMPLE_RATE / 4


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"speaker": "nobody"}, "nobody"),
        ({"valence": 1.01}, "valence"),
        ({"arousal": float("nan")}, "arousal"),
        ({"seed": -1}, "seed"),
    ],
)
def test_an_argument_that_does_not_exist_is_refused(voice, changed, named):
    arguments = {"speaker": QUERY, "valence": 0.0, "arousal": 0.0, "seed": 0} | changed
    with pytest.raises(InvalidInput, match=named):
        voice.speak("Hello.", **arguments)


def test_a_speaker_as_described_speaks_within_the_rules_at_the_ends_of_the_plane(voice):
    text = "Does she need a permit to set up a fan close to the shelf?"
    speakers = load_prompts(BUNDLED, "full", ("speakers",)).speakers
    assert len(speakers) == 16
    for speaker in speakers:
        clip = voice.speak(text, speaker=speaker.builtin, valence=-1.0, arousal=1.0, seed=0)
        assert problem(encode_flac(clip), len(text.split())) is None


def test_speakers_are_told_apart_by_the_network_that_listens(voice):
    speakers = {s.name: s.builtin for s in load_prompts(BUNDLED, "full", ("speakers",)).speakers}
    texts = ("We waited all day by the river.", "You sign the form and send it home.")

    def heard(name, text):
        clip = voice.speak(text, speaker=speakers[name], valence=0.0, arousal=0.0, seed=0)
        return embedding(encode_flac(clip))

    names = ("mia", "clara", "finn", "otto")
    first, second = (np.stack([heard(name, text) for name in names]) for text in texts)
    assert np.linalg.norm(first, axis=1) == pytest.approx(np.ones(len(names)), abs=1e-5)
    assert (first @ second.T).argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_every_speaker_of_the_prompts_is_two_of_their_age_and_gender():
    speakers = load_prompts(BUNDLED, "full", ("speakers",)).speakers
    assert set(Counter((one.gender, one.age) for one in speakers).values()) == {2}
    assert len({(one.gender, one.age) for one in speakers}) == 8
