"""The builtin voice of a worker, for the speech stage and the voice server."""

import threading
from concurrent.futures import ProcessPoolExecutor

from corpus.compute.worker_processes import worker_processes
from corpus.voices.builtin_synthesis import Samples, Voice
from schemas.prompts import BuiltinSpeaker

_of_thread = threading.local()


def voice_processes(count: int) -> ProcessPoolExecutor:
    """A pool of so many processes for `spoken`; about 240 MB each."""
    return worker_processes(count)


def spoken(
    text: str, *, speaker: str | BuiltinSpeaker, valence: float, arousal: float, seed: int
) -> Samples:
    """`Voice.speak` with a voice of this thread's own, loaded at the first call."""
    if not hasattr(_of_thread, "voice"):
        _of_thread.voice = Voice()
    voice: Voice = _of_thread.voice
    return voice.speak(text, speaker=speaker, valence=valence, arousal=arousal, seed=seed)
