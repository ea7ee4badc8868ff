"""Our features against those of the published definition, by librosa, of the same clips.

librosa's are on file (`benchmarks/prosody_by_librosa.py` computed them), for it is not installed by
default. pYIN found no voice in three loud clips; a feature is compared where both have it.
"""

from dataclasses import asdict

import pandas as pd
import pytest

from benchmarks.prosody_by_librosa import TABLE, clips
from corpus.evaluation.statistics import rank_correlation
from corpus.sound.prosody import FEATURES, prosody
from schemas.audio import SAMPLE_RATE

MOST_APART = 0.04
"""Of two rank correlations with the point, ours and by librosa's features."""


@pytest.fixture(scope="module")
def both():
    made = clips()
    rate = [clip["words"] / (len(clip["samples"]) / SAMPLE_RATE) for clip in made]
    ours = pd.DataFrame([asdict(prosody(clip["samples"])) for clip in made]).assign(rate=rate)
    return ours, pd.read_csv(TABLE)


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_ranks_clips_as_librosas_does_and_follows_the_point_alike(both, feature):
    ours, librosas = both
    assert rank_correlation(ours[feature], librosas[feature])["rho"] > 0.97
    there = librosas[feature].notna()
    for axis in ("valence", "arousal"):
        by_ours = rank_correlation(ours[feature][there], librosas[axis][there])["rho"]
        by_librosa = rank_correlation(librosas[feature][there], librosas[axis][there])["rho"]
        assert by_ours == pytest.approx(by_librosa, abs=MOST_APART)
