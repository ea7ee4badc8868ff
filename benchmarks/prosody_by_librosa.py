"""Ours against the published definition of the seven features: librosa's, pYIN and all.

Twenty-four clips of the builtin voice, two sentences at each of the twelve anchors, are measured as
the Sympatheia paper has it: F0 by pYIN from 65.4 to 2,093 Hz, energy and centroid over frames of
2,048 samples, 512 apart, silence included. The features go to `prosody_by_librosa.csv`, so that
the test of our own can hold them against these where librosa is not installed (it brings soxr,
which is LGPL); the rank correlations of both with valence and arousal to
`prosody_by_librosa.json`.

    pip install librosa
    .venv/bin/python -m benchmarks.prosody_by_librosa
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from corpus.evaluation.statistics import rank_correlation
from corpus.plan.prompt_files import BUNDLED, read_anchors
from corpus.sound.prosody import FEATURES, prosody
from corpus.voices.builtin_synthesis import Voice
from schemas.audio import SAMPLE_RATE

SENTENCES = (
    "Let us look at it together, one small step at a time.",
    "There is a train at nine in the morning, and a later one at noon.",
)
TABLE, RESULT = (Path(__file__).with_suffix(suffix) for suffix in (".csv", ".json"))
LOWEST, HIGHEST = 65.4, 2_093.0
FRAME, HOP = 2_048, 512


def clips() -> list[dict[str, object]]:
    """Emotion, point, words and samples of every clip."""
    voice = Voice()
    return [
        {
            "emotion": anchor.name,
            "valence": anchor.valence,
            "arousal": anchor.arousal,
            "words": len(text.split()),
            "samples": voice.speak(
                text, speaker="heron", valence=anchor.valence, arousal=anchor.arousal, seed=0
            ),
        }
        for anchor in read_anchors(BUNDLED).anchors
        for text in SENTENCES
    ]


def by_librosa(samples: NDArray[np.float32]) -> dict[str, float]:
    """The features of a clip but for the rate, by the published definition."""
    import librosa

    f0, _, _ = librosa.pyin(
        samples, fmin=LOWEST, fmax=HIGHEST, sr=SAMPLE_RATE, frame_length=FRAME, hop_length=HOP
    )
    voiced = f0[~np.isnan(f0)]
    f0 = voiced if len(voiced) else np.array([np.nan])  # which the published code leaves out
    energy = librosa.feature.rms(y=samples, frame_length=FRAME, hop_length=HOP)[0]
    centroid = librosa.feature.spectral_centroid(
        y=samples, sr=SAMPLE_RATE, n_fft=FRAME, hop_length=HOP
    )
    return {
        "f0_mean": f0.mean(),
        "f0_sd": f0.std(),
        "f0_range": np.percentile(f0, 90) - np.percentile(f0, 10),
        "energy_mean": energy.mean(),
        "energy_sd": energy.std(),
        "centroid": centroid.mean(),
    }


def main() -> None:
    """Measures, prints and writes both."""
    made = clips()
    points = pd.DataFrame(made)[["emotion", "valence", "arousal"]]
    rate = [clip["words"] / (len(clip["samples"]) / SAMPLE_RATE) for clip in made]
    theirs = pd.DataFrame([by_librosa(clip["samples"]) for clip in made]).assign(rate=rate)
    ours = pd.DataFrame([asdict(prosody(clip["samples"])) for clip in made]).assign(rate=rate)
    pd.concat([points, theirs.round(6)], axis=1).to_csv(TABLE, index=False)
    result = {
        "clips": len(made),
        "features": {
            feature: {
                "agreement": rank_correlation(ours[feature], theirs[feature])["rho"],
                **{
                    f"{axis}_{name}": rank_correlation(table[feature], points[axis])["rho"]
                    for axis in ("valence", "arousal")
                    for name, table in (("ours", ours), ("librosa", theirs))
                },
            }
            for feature in FEATURES
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
