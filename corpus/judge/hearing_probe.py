"""A clip whose only words come late, by which a judge shows that it hears to the end.

Some servers cut sound at 30 s and say nothing of it; responses last longer than that.
"""

import numpy as np

from corpus.sound.clip_audio import encode_flac
from corpus.voices.builtin_processes import spoken
from corpus.voices.builtin_synthesis import SPEAKERS
from schemas.audio import SAMPLE_RATE

SILENT_SECONDS = 32.0
"""Before the words: what hears them was not cut at 30 s, the window that models of speech have from
Whisper."""

WORD = "umbrella"
"""Of three syllables, and nothing that one would guess."""
_SENTENCE = f"Please bring me the {WORD}."


def probe_clip() -> bytes:
    """The clip as FLAC, the same at each call; takes a second the first time in a thread."""
    words = spoken(_SENTENCE, speaker=next(iter(SPEAKERS)), valence=0.0, arousal=0.0, seed=0)
    silence = np.zeros(round(SILENT_SECONDS * SAMPLE_RATE), np.float32)
    return encode_flac(np.concatenate([silence, words]))


def heard(answer: str) -> bool:
    """Whether an answer has the word."""
    return WORD in answer.lower()
