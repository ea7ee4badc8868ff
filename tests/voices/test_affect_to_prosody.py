"""The affect mapping, by its numbers; how it sounds is tested with the voice."""

import itertools
from dataclasses import astuple

import numpy as np
import pytest

from corpus.voices.affect_to_prosody import delivery

NEUTRAL, TIRED = (0.0, 0.0), (-0.15, -0.75)


def test_low_arousal_is_breathier():
    assert delivery(*TIRED).breathiness > delivery(*NEUTRAL).breathiness
    assert delivery(0.0, 1.0).breathiness == pytest.approx(0.0)


def test_neutral_is_the_plain_reading_in_tempo_and_pitch():
    plain = delivery(0.0, 0.0)
    assert (plain.rate, plain.semitones, plain.pitch_range, plain.tilt) == (1.0, 0.0, 1.0, 0.0)


def test_delivery_is_continuous_over_the_whole_plane():
    steps = np.linspace(-1.0, 1.0, 41)
    for valence, arousal in itertools.product(steps, steps):
        here = np.array(astuple(delivery(valence, arousal)))
        for there in (
            delivery(valence, max(-1, arousal - 1e-4)),
            delivery(min(1, valence + 1e-4), arousal),
        ):
            assert np.abs(here - np.array(astuple(there))).max() < 2e-3
