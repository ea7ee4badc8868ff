import io

import pytest
import soundfile

from corpus.voices.builtin_synthesis import SPEAKERS, Voice
from schemas.audio import SAMPLE_RATE

TEXT = "Why does my bread always turn out so heavy and flat?"
WORDS = len(TEXT.split())


@pytest.fixture(scope="session")
def speech():
    """A good clip of `TEXT`."""
    return Voice().speak(TEXT, speaker=next(iter(SPEAKERS)), valence=0.0, arousal=0.0, seed=0)


def written(samples, rate=SAMPLE_RATE, **options):
    """The bytes of a sound file, of any kind that soundfile writes."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", **options})
    return file.getvalue()
