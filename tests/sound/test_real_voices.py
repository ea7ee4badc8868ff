"""What genuine voices have to expect of the rules and of the loudness of styles."""

import json

import pytest

from benchmarks.real_voices import (
    LOUDNESS,
    RESULT,
    anchor_points,
    arousal_in_energy,
    figures,
    real_clips,
    refused,
    too_quiet,
)


@pytest.fixture(scope="module")
def clips():
    return real_clips()


def group(clips, name):
    return [clip for clip in clips if clip.group == name]


def test_good_clips_are_let_through(clips):
    found = refused(group(clips, "qwen"))
    assert found.pop("cut_off") <= 0.03
    assert all(share <= 0.005 for share in found.values()), found
    assert refused(group(clips, "human")) == {}


def test_what_was_cut_is_found(clips):
    assert refused(group(clips, "human-cut2s"))["cut_off"] >= 2 / 3
    assert refused(group(clips, "qwen-capped"))["cut_off"] >= 0.6


def test_beeps_and_broken_ports_are_found(clips):
    assert refused(group(clips, "tones"))["noise"] >= 0.8
    assert sum(refused(group(clips, "qwen-dev")).values()) >= 0.5


def test_most_clips_reach_the_loudest_style_under_the_peak_limit(clips):
    assert too_quiet(group(clips, "qwen"), LOUDNESS) <= 0.10


def test_arousal_is_heard_in_the_energy_as_if_there_were_no_peak_limit(clips):
    found = arousal_in_energy(group(clips, "qwen"), LOUDNESS, anchor_points())
    assert found["all"] == pytest.approx(found["all_without_peak_limit"], abs=0.01)
    assert found["louder_half"] == pytest.approx(found["louder_half_without_peak_limit"], abs=0.02)


def test_the_committed_figures_are_those_of_the_limits_in_force():
    assert json.loads(RESULT.read_text()) == figures()
