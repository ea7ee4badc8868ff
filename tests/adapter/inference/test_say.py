"""One reply by the command line, and questions that are none."""

import numpy as np
import pytest
import soundfile

from tests.support.line import typed

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def question(tmp_path):
    def question(seconds=1.0, rate=24_000, channels=1, level=0.3):
        times = np.arange(round(seconds * rate)) / rate
        wave = level * np.sin(2 * np.pi * 220 * times) * (1 + np.sin(2 * np.pi * 3 * times)) / 2
        path = tmp_path / "question.wav"
        soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate)
        return path

    return question


@pytest.fixture
def say(tiny, tmp_path):
    def say(clip, *options, **parts):
        named = {
            "base": tiny / "base",
            "speech-tokenizer": tiny / "speech-tokenizer",
            "decoder": tiny / "decoder",
        } | parts
        paths = [f"--{name}={path}" for name, path in named.items()]
        return typed("say", clip, *paths, "--output", tmp_path / "reply.wav", *options)

    return say


def test_a_reply_is_words_on_standard_output_and_sound_in_a_file(say, question, tmp_path):
    said = say(question(), "--emotion", "sad", "--seed", "3")
    assert said.returncode == 0, said.stderr
    assert "affect valence -0." in said.stderr
    samples, rate = soundfile.read(tmp_path / "reply.wav")
    assert rate == 22_050
    assert len(samples) > 0
    first = (tmp_path / "reply.wav").read_bytes()
    assert say(question(), "--emotion", "sad", "--seed", "3").stdout == said.stdout
    assert (tmp_path / "reply.wav").read_bytes() == first


def test_8_khz_and_two_channels_are_heard(say, question):
    assert say(question(rate=8_000, channels=2)).returncode == 0


@pytest.mark.parametrize(
    ("clip", "why"),
    [
        ({"level": 0.0}, "no speech in it"),
        ({"seconds": 3600, "rate": 8_000}, "3,600 seconds"),
        ({"seconds": 0}, "no speech in it"),
    ],
)
def test_what_is_no_question_is_a_sentence(say, question, clip, why):
    said = say(question(**clip))
    assert said.returncode == 2
    assert why in said.stderr
    assert "defect" not in said.stderr


def test_bytes_that_are_no_sound_are_a_sentence(say, tmp_path):
    (tmp_path / "no.wav").write_bytes(b"words")
    said = say(tmp_path / "no.wav")
    assert said.returncode == 2
    assert "WAV or FLAC" in said.stderr


@pytest.mark.parametrize("part", ["base", "speech-tokenizer", "decoder", "adapter"])
def test_a_part_that_is_not_there_is_a_sentence(say, question, tmp_path, part):
    said = say(question(), **{part: tmp_path})
    assert said.returncode == 2
    assert str(tmp_path) in said.stderr
    assert "defect" not in said.stderr


def test_two_ways_to_tell_a_feeling_are_one_too_many(say, question):
    said = say(question(), "--emotion", "sad", "--affect=0,0")
    assert said.returncode == 2
    assert "not several" in said.stderr
