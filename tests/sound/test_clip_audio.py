"""Clips measured, encoded and finished: what is left of one, and what it then has."""

import dataclasses
import io
import json
import time

import numpy as np
import pyloudnorm
import pytest
import soundfile
from scipy.signal import resample_poly

from corpus.sound.clip_audio import (
    HIGHEST_PEAK,
    MARGIN_SECONDS,
    MAX_OFFSET,
    SAMPLE_RATE,
    ClipMeasures,
    encode_flac,
    encode_wav,
    finish,
    measure,
)
from corpus.sound.sound_files import Undecodable, decode
from tests.sound.conftest import WORDS, written
from tests.support.clips import problem, problem_of


def test_flac_is_24_khz_mono_16_bit_and_the_same_every_time(speech):
    data = encode_flac(speech)
    info = soundfile.info(io.BytesIO(data))
    assert (info.format, info.samplerate, info.channels, info.subtype) == (
        "FLAC",
        24_000,
        1,
        "PCM_16",
    )
    assert encode_flac(speech) == data


def test_what_is_encoded_is_decoded(speech):
    samples, rate = decode(encode_flac(speech))
    assert (samples.shape, rate) == ((len(speech), 1), SAMPLE_RATE)
    assert np.abs(samples[:, 0] - speech).max() < 1e-4
    again = encode_flac(samples[:, 0])
    assert np.array_equal(decode(again)[0], samples)


@pytest.mark.parametrize(
    "samples",
    [np.array([0.0, np.nan]), np.array([0.0, 1.5]), np.zeros((10, 2))],
    ids=["not finite", "too loud", "stereo"],
)
def test_only_mono_finite_samples_are_encoded(samples):
    with pytest.raises(ValueError, match="mono, finite"):
        encode_flac(samples.astype(np.float32))


def test_measures_of_known_sound():
    tone = 0.5 * np.sin(2 * np.pi * 200 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    quiet = np.zeros(SAMPLE_RATE)
    sound = np.concatenate([quiet[:12_000], tone, quiet, tone, quiet[:6_000]])
    measures = measure(encode_flac(sound.astype(np.float32)))
    assert measures.seconds == pytest.approx(3.75)
    assert measures.peak == pytest.approx(0.5, abs=1e-3)
    assert measures.level == pytest.approx(-9.03, abs=0.05)
    assert measures.leading_silence == pytest.approx(0.5, abs=0.011)
    assert measures.longest_gap == pytest.approx(1.0, abs=0.011)
    assert measures.trailing_silence == pytest.approx(0.25, abs=0.011)
    assert measures.silence_share == pytest.approx(1 / 3, abs=0.01)
    assert measures.finite
    assert measures.clipped_share == 0.0


def test_measures_survive_json(speech):
    stereo_nan = np.full((SAMPLE_RATE, 2), np.nan, dtype=np.float32)
    for data in (encode_flac(speech), b"<html>", written(stereo_nan, subtype="FLOAT")):
        measures = measure(data)
        text = json.dumps(dataclasses.asdict(measures), allow_nan=False)
        assert ClipMeasures(**json.loads(text)) == measures


SIZES = {  # what a header may say of the whole file and of its sound, beside the truth
    "streamed": lambda whole, sound: (0xFFFFFFFF, 0xFFFFFFFF),
    "half of that": lambda whole, sound: (0x7FFFFFFF, 0x7FFFFFFF - 36),
    "two billion": lambda whole, sound: (2_000_000_036, 2_000_000_000),
    "sound alone unknown": lambda whole, sound: (whole, 2_000_000_000),
    "eight too great": lambda whole, sound: (whole + 8, sound),
    "nothing": lambda whole, sound: (0, 0),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_whole_wav_is_read_whatever_its_header_says_of_its_length(speech, sizes):
    wav = bytearray(encode_wav(speech))
    told = sizes(len(wav) - 8, len(wav) - 44)
    wav[4:8], wav[40:44] = (size.to_bytes(4, "little") for size in told)
    flac, measures = finish(bytes(wav), -23.0)
    assert (flac, measures) == finish(encode_wav(speech), -23.0)


def test_a_wav_that_ends_before_its_header_says_is_refused(speech):
    wav = encode_wav(speech)
    for cut in (len(wav) // 2, len(wav) - 2):
        assert problem(wav[:cut], WORDS) == "undecodable"
    listed = wav + b"LIST" + (4).to_bytes(4, "little") + b"INFO"
    assert problem(listed, WORDS) is None
    empty = wav[:4] + (36).to_bytes(4, "little") + wav[8:40] + bytes(4)
    assert problem(empty, WORDS) == "empty"


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_24")],
)
def test_a_code_that_keeps_everything_is_accepted(speech, container, subtype):
    assert problem(written(speech, format=container, subtype=subtype), WORDS) is None


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("MP3", "MPEG_LAYER_III"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("WAV", "ULAW"),
        ("WAV", "ALAW"),
        ("WAV", "PCM_U8"),
        ("WAV", "MS_ADPCM"),
        ("FLAC", "PCM_S8"),
    ],
)
def test_a_lossy_or_coarse_code_is_refused_by_name(speech, container, subtype):
    _, measures = finish(written(speech, format=container, subtype=subtype), -23.0)
    assert problem_of(measures, WORDS) == "lossy_code"
    assert measures.coding == subtype


@pytest.mark.parametrize("offset", [0.05, -0.01])
def test_an_offset_is_taken_away_and_the_clip_is_judged(speech, offset):
    plain, before = finish(encode_wav(speech), -23.0)
    flac, after = finish(encode_wav(speech + np.float32(offset)), -23.0)
    assert problem_of(after, WORDS) is None
    assert after.level == pytest.approx(before.level, abs=0.01)
    assert np.abs(decode(flac)[0] - decode(plain)[0]).max() < 1e-3


def test_a_clip_that_was_clipped_stays_so_without_its_offset(speech):
    loud = np.clip(speech * 20 + 0.3, -1, 1).astype(np.float32)
    assert problem(encode_wav(loud), WORDS) == "clipped"


def test_a_clip_around_zero_is_not_touched(speech):
    assert abs(speech.mean()) < MAX_OFFSET / 10
    near = speech + np.float32(MAX_OFFSET / 2)
    assert decode(finish(encode_wav(near), -23.0)[0])[0].mean() > MAX_OFFSET / 4


def loudness_of(data):
    samples, rate = decode(data)
    return pyloudnorm.Meter(rate).integrated_loudness(samples[:, 0].astype(np.float64))


def test_silent_ends_are_cut_to_the_margin_and_nothing_else_is(speech):
    plain, _ = finish(encode_flac(speech), -23.0)
    late, measures = finish(encode_flac(np.pad(speech, (54_000, 30_000))), -23.0)
    assert measures.leading_silence == pytest.approx(54_000 / SAMPLE_RATE + 0.1, abs=0.05)
    found = measure(late)
    assert found.leading_silence == pytest.approx(MARGIN_SECONDS, abs=0.011)
    assert found.trailing_silence == pytest.approx(MARGIN_SECONDS, abs=0.011)
    assert found.seconds == pytest.approx(measures.finished_seconds, abs=1e-4)
    assert found.speech_seconds == pytest.approx(measure(plain).speech_seconds, abs=0.011)


@pytest.mark.parametrize("lacking", ["at once", "half a margin"])
def test_missing_margins_are_filled_and_nothing_clicks(speech, lacking):
    loud = np.flatnonzero(np.abs(speech) > 0.3 * np.abs(speech).max())
    cut = speech[loud[0] : loud[-1]]
    half = round(MARGIN_SECONDS / 2 * SAMPLE_RATE)
    came = cut if lacking == "at once" else np.pad(cut, half)
    samples = decode(finish(encode_flac(came), -28.0)[0])[0][:, 0]
    margin = round(MARGIN_SECONDS * SAMPLE_RATE)
    assert len(samples) == pytest.approx(len(cut) + 2 * margin, abs=SAMPLE_RATE // 100)
    for end in (samples, samples[::-1]):
        assert np.abs(end[: margin - SAMPLE_RATE // 100]).max() == 0.0
        sounding = end[np.flatnonzero(end)[0] :]
        assert np.abs(sounding[: SAMPLE_RATE // 10]).max() > 0.01  # there is speech behind it
    if lacking == "at once":
        steps = np.abs(np.diff(samples))
        rise = steps[margin - 2 : margin + SAMPLE_RATE // 200]
        fall = steps[-margin - SAMPLE_RATE // 200 : -margin + 2]
        assert max(rise[0], fall[-1]) < 0.002
        assert max(rise.max(), fall.max()) <= steps.max()


@pytest.mark.parametrize("gain", [0.2, 1.0, 1.6])
@pytest.mark.parametrize("target", [-29.0, -23.0, -18.0])
def test_a_finished_clip_has_its_loudness_whatever_it_came_with(speech, gain, target):
    done, measures = finish(encode_flac(speech * gain), target)
    assert loudness_of(done) == pytest.approx(target, abs=0.1)
    assert measures.loudness == pytest.approx(target, abs=0.1)


def test_headroom_is_kept_though_the_clip_stays_quieter(speech):
    done, measures = finish(encode_flac(speech), -3.0)
    assert measure(done).peak == pytest.approx(HIGHEST_PEAK, abs=1e-3)
    assert measures.loudness == pytest.approx(loudness_of(done), abs=0.1)
    assert measures.loudness < -5.0


def test_a_finished_clip_is_the_same_every_time_and_finished_twice_stays(speech):
    once, _ = finish(encode_flac(speech), -23.0)
    assert finish(encode_flac(speech), -23.0)[0] == once
    again, _ = finish(once, -23.0)
    first, second = decode(once)[0], decode(again)[0]
    assert first.shape == second.shape
    assert np.abs(first - second).max() < 1e-3


def test_a_clip_shorter_than_a_loudness_block_is_finished(speech):
    loud = np.flatnonzero(np.abs(speech) > 0.3 * np.abs(speech).max())
    short = speech[loud[0] : loud[0] + SAMPLE_RATE // 8]
    fading = short * np.linspace(1, 0, len(short), dtype=np.float32)
    done, measures = finish(encode_flac(fading), -23.0)
    assert done is not None
    assert measures.finished_seconds < 0.4


def test_another_rate_and_several_channels_are_finished_as_24_khz_mono(speech):
    here, _ = finish(encode_flac(speech), -28.0)
    other = resample_poly(speech, 147, 80)  # 44.1 kHz
    stereo = np.stack([other, 0.5 * other], axis=1).clip(-1, 1)
    done, measures = finish(written(stereo, 44_100), -28.0)
    assert (measures.sample_rate, measures.channels) == (44_100, 2)
    info = soundfile.info(io.BytesIO(done))
    assert (info.samplerate, info.channels) == (SAMPLE_RATE, 1)
    assert measure(done).speech_seconds == pytest.approx(measure(here).speech_seconds, abs=0.03)
    assert measures.loudness == pytest.approx(-28.0, abs=0.1)


def test_a_rate_that_no_sound_has_is_no_clip(speech):
    done, measures = finish(written(speech[:1000], 2_000_000_000), -28.0)
    assert done is None
    assert "2000000000 samples a second" in measures.problem


def test_decode_says_what_is_wrong():
    with pytest.raises(Undecodable, match="cannot be decoded"):
        decode(b"<html>")


def test_checks_are_cheap(speech):
    data = encode_flac(np.resize(speech, 20 * SAMPLE_RATE))
    best = min(_timed(data) for _ in range(5))
    assert best / 20 < 3e-3


def _timed(data):
    start = time.perf_counter()
    measure(data)
    return time.perf_counter() - start
