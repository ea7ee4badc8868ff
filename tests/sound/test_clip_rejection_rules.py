"""Clip rules on real speech, whole and damaged in every way a speech server has."""

import dataclasses
import io

import numpy as np
import pytest
import soundfile

from corpus.errors import InvalidInput
from corpus.sound.clip_audio import (
    SAMPLE_RATE,
    ClipMeasures,
    encode_flac,
    encode_wav,
    finish,
    measure,
)
from corpus.sound.clip_rejection_rules import CLIP_RULES, HeardClip, clip_rules, judge
from tests.sound.conftest import WORDS, written
from tests.support.clips import problem


def verdict(measures, words=WORDS, **settings):
    return judge(clip_rules(settings), HeardClip(measures, words))


def test_good_speech_passes_in_either_container(speech):
    assert problem(encode_flac(speech), WORDS) is None
    assert problem(encode_wav(speech), WORDS) is None


def damaged(speech):
    """(rule, bytes) for every way a clip goes bad."""
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.standard_normal(3 * SAMPLE_RATE)).clip(-1, 1).astype(np.float32)
    hum = 0.2 * np.sin(2 * np.pi * 120 * np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE)
    with_nan = speech.copy()
    with_nan[5000] = np.nan
    half = len(speech) // 2
    flac, wav = encode_flac(speech), encode_wav(speech)
    hole = np.zeros(45_000, np.float32)
    pieces = [p for part in np.array_split(speech, 4) for p in (part, hole)][:-1]
    loud = np.flatnonzero(np.abs(speech) > 0.5 * np.abs(speech).max())
    return {
        "an HTML error page": ("undecodable", b"<html><body>502 Bad Gateway</body></html>"),
        "JSON": ("undecodable", b'{"error": "overloaded"}'),
        "no bytes": ("undecodable", b""),
        "half a FLAC": ("undecodable", flac[: len(flac) // 2]),
        "half a WAV": ("undecodable", wav[: len(wav) // 2]),
        "another rate": ("wrong_rate", written(speech, 22_050)),
        "stereo": ("not_mono", written(np.stack([speech, speech], axis=1))),
        "not finite": ("not_finite", written(with_nan, subtype="FLOAT")),
        "no samples": ("empty", encode_wav(speech[:0])),
        "a click": ("empty", encode_flac(speech[half : half + 500])),
        "silence": ("silent", encode_flac(np.zeros(3 * SAMPLE_RATE, np.float32))),
        "a whisper of noise": ("silent", encode_flac(noise * 0.01)),
        "overdriven": ("clipped", encode_flac((speech * 6).clip(-1, 1))),
        "noise": ("noise", encode_flac(noise)),
        "hum": ("noise", encode_flac(hum.astype(np.float32))),
        "40 s of babble": ("too_slow", encode_flac(np.resize(speech, 40 * SAMPLE_RATE))),
        "a hole": (
            "long_gap",
            encode_flac(
                np.concatenate([speech[:half], np.zeros(54_000, np.float32), speech[half:]])
            ),
        ),
        "mostly silent": ("mostly_silent", encode_flac(np.concatenate(pieces))),
        "the first fifth": ("too_fast", encode_flac(np.pad(speech[: len(speech) // 5], (0, 500)))),
        "cut in a vowel": ("cut_off", encode_flac(speech[: loud[-1]])),
    }


def test_every_damage_is_refused_by_its_rule(speech):
    cases = damaged(speech)
    found = {what: problem(data, WORDS) for what, (_, data) in cases.items()}
    assert found == {what: rule for what, (rule, _) in cases.items()}


def test_every_clip_of_finite_sound_is_finished_whatever_refuses_it(speech):
    for what, (rule, data) in damaged(speech).items():
        done, measures = finish(data, -28.0)
        assert (done is None) == (rule in {"undecodable", "not_finite"}), what
        assert verdict(measures).reason == rule, what
        if done:
            assert soundfile.info(io.BytesIO(done)).duration == measures.finished_seconds


@pytest.mark.parametrize("setting", [False, "report"])
def test_every_damage_can_be_let_through_but_what_has_no_finite_sound(speech, setting):
    kept = {rule.name: setting for rule in CLIP_RULES if not rule.fixed}
    reported = tuple(kept) if setting else ()
    for what, (rule, data) in damaged(speech).items():
        found = verdict(measure(data), **kept)
        if rule in {"undecodable", "not_finite"}:
            assert found.reason == rule, what
        else:
            assert found.reason is None, what
            assert (rule in found.reported) == bool(reported), what


def test_a_limit_of_the_recipe_takes_the_place_of_the_rule_s_own(speech):
    measures = measure(encode_flac(speech))
    assert verdict(measures).reason is None
    assert verdict(measures, silent=-10.0).reason == "silent"
    assert verdict(measures, words=10 * WORDS).reason == "too_fast"
    assert verdict(measures, words=10 * WORDS, too_fast=0.001).reason is None
    gap = dataclasses.replace(measures, longest_gap=9.0)
    assert verdict(gap).reason == "long_gap"
    assert verdict(gap, long_gap=9.0).reason is None


def test_what_the_server_called_it_is_the_reason(speech):
    measures = ClipMeasures(problem="The clip cannot be decoded.", refusal="runaway")
    assert verdict(measures).reason == "runaway"


def test_a_voice_that_ended_is_not_cut_off_whatever_its_tail(speech):
    measures = dataclasses.replace(measure(encode_flac(speech)), tail=-3.0)
    assert verdict(measures).reason == "cut_off"
    assert verdict(dataclasses.replace(measures, ended=True)).reason is None


def test_other_words_are_misheard_only_where_one_listened(speech):
    clip = HeardClip(measure(encode_flac(speech)), WORDS)
    assert judge(clip_rules({}), clip).reason is None
    heard = dataclasses.replace(clip, word_error=0.3)
    assert judge(clip_rules({}), heard).reason == "misheard"
    assert judge(clip_rules({"misheard": 0.4}), heard).reason is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"cutoff": -10.0},
            "speech.rules.cutoff: there is no such rule; undecodable, lossy_code, ",
        ),
        ({"undecodable": False}, "speech.rules.undecodable: the rule cannot be changed"),
        ({"not_finite": "report"}, "speech.rules.not_finite: the rule cannot be changed"),
        ({"not_mono": 2.0}, "speech.rules.not_mono = 2.0: the rule has no limit"),
    ],
)
def test_what_cannot_be_set_is_refused_in_words(settings, words):
    with pytest.raises(InvalidInput, match=words):
        clip_rules(settings)


def test_rules_have_names_of_their_own_and_something_to_say():
    assert len({rule.name for rule in CLIP_RULES}) == len(CLIP_RULES)
    assert all(rule.about.endswith(".") for rule in CLIP_RULES)
