"""Sound files that were damaged in some hundred ways: a clip, a refusal, or words."""

import io
import random

import numpy as np
import pytest
import soundfile

from corpus.errors import SympatheiaError
from corpus.sound.clip_audio import finish, measure_finished
from corpus.sound.clip_rejection_rules import HeardClip, clip_rules, judge
from corpus.sound.sound_files import recode
from schemas.audio import SAMPLE_RATE
from tests.support.mutations import broken

SEEDS = range(250)
HEAD = 64
"""Bytes of a header: that of a WAV file has 44 or more, what FLAC says of its stream ends at 42."""


def sound(container, subtype):
    """A second that passes for speech, and is quickly judged."""
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    swelling = np.sin(2 * np.pi * 3 * seconds) ** 4
    file = io.BytesIO()
    samples = 0.3 * swelling * np.sin(2 * np.pi * 150 * seconds)
    soundfile.write(file, samples, SAMPLE_RATE, format=container, subtype=subtype)
    return file.getvalue()


def mutated(body, chance):
    """Bytes of which some were changed, of the header above all, or which were broken."""
    match chance.randrange(4):
        case 0:
            return broken(body, chance)
        case 1:
            at = chance.randrange(HEAD)
            return body[:at] + chance.randbytes(chance.choice((1, 2, 4, 8))) + body[at + 4 :]
    changed = bytearray(body)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(chance.choice((HEAD, HEAD, len(body))))
        changed[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(changed)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "OPUS")],
)
def test_no_sound_file_ends_in_anything_but_a_clip_a_refusal_or_words(container, subtype):
    whole, rules = sound(container, subtype), clip_rules({})
    ended = {"clip": 0, "refused": 0}
    for seed in SEEDS:
        body = mutated(whole, random.Random(seed))
        flac, measures = finish(body, -23.0)
        reason = judge(rules, HeardClip(measures, 2)).reason
        assert reason or flac is not None, seed
        ended["refused" if reason else "clip"] += 1
        if flac is not None:  # what is kept is whole, whatever it was made from
            assert measure_finished(flac).problem is None, seed
        assert np.isfinite(measure_finished(body).loudness), seed
        try:
            recode(body, "WAV")
        except SympatheiaError as error:
            assert str(error)
    assert ended["refused"] > 10 and (ended["clip"] > 10 or subtype in ("FLOAT", "OPUS")), ended
