"""What the Sympatheia paper reports of its own system and of others, as it stands in its tables.

Means on a scale from 1 to 5 are of the paper's judge, Qwen3-Omni-30B-A3B-Instruct, one call for
each clip; the other measures are those of `corpus.evaluation.measures`, where not said otherwise.
"""

from typing import Any

SYMPATHEIA, BASE = "Sympatheia", "GLM-4-Voice"
OMNI, KIMI = "Qwen3-Omni", "Kimi-Audio"

_PROSODY = {
    SYMPATHEIA: {
        "f0_mean": (0.28, 0.40),
        "f0_sd": (0.23, 0.46),
        "f0_range": (0.23, 0.45),
        "energy_mean": (0.34, 0.19),
        "energy_sd": (0.31, 0.06),
        "rate": (0.01, 0.29),
        "centroid": (0.08, 0.28),
    },
    BASE: {
        "f0_mean": (0.22, 0.12),
        "f0_sd": (0.13, 0.08),
        "f0_range": (0.19, 0.09),
        "energy_mean": (0.13, 0.16),
        "energy_sd": (0.12, 0.07),
        "rate": (-0.10, 0.06),
        "centroid": (0.03, 0.06),
    },
}

PUBLISHED: dict[str, Any] = {
    "judge": {
        # Neutral, emotional and VoiceBench set.
        SYMPATHEIA: {"neutral": 4.37, "emotional": 4.74, "voicebench": 4.22},
        BASE: {"neutral": 1.76, "emotional": 3.80, "voicebench": 1.51},
        OMNI: {"neutral": 2.59, "emotional": 4.69, "voicebench": 1.88},
        KIMI: {"neutral": 3.64, "emotional": 4.03, "voicebench": 3.75},
    },
    "judge_by_condition": {
        "affect": {"neutral": 4.368, "emotional": 4.853, "voicebench": 4.224},
        "none": {"neutral": 1.883, "emotional": 4.737, "voicebench": 1.690},
    },
    "judge_by_emotion": {
        "angry": 3.59,
        "anxious": 4.17,
        "content": 4.57,
        "disgusted": 4.77,
        "excited": 4.96,
        "frustrated": 4.28,
        "happy": 4.92,
        "neutral": 4.16,
        "relaxed": 4.84,
        "sad": 4.40,
        "surprised": 3.28,
        "tired": 4.48,
    },
    "sensitivity": {"0": 4.32, "0.1": 3.79, "0.2": 3.59, "0.3": 3.51, "0.5": 3.30},
    "prosody": {
        system: {
            feature: {"valence": valence, "arousal": arousal}
            for feature, (valence, arousal) in features.items()
        }
        for system, features in _PROSODY.items()
    },
    # Whisper medium, distilbert-base-uncased; clips under 10 s left out.
    "invariance": {
        SYMPATHEIA: {"bertscore_f1": 0.801, "rouge_l": 0.223},
        BASE: {"bertscore_f1": 0.866, "rouge_l": 0.459},
        OMNI: {"bertscore_f1": 0.857, "rouge_l": 0.397},
    },
    # On 100 queries of VoiceAssistant-400K; failed recognitions left out.
    "naturalness": {SYMPATHEIA: {"utmos22_strong": 4.18}, BASE: {"utmos22_strong": 4.02}},
    "intelligibility": {SYMPATHEIA: {"wer_mean": 0.0542}, BASE: {"wer_mean": 0.0573}},
    # 20 listeners, from 1 to 5.
    "listening": {SYMPATHEIA: 3.86, OMNI: 3.32, KIMI: 2.95},
}
"""By measure, then by system: the paper's tables 1 to 3, 10 and 11 and its text."""
