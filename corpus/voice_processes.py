"""Processes that each hold one builtin voice, for the speech stage and the voice server."""

from concurrent.futures import ProcessPoolExecutor

from corpus.processes import worker_processes
from corpus.voice import Samples, Voice

_voice: Voice | None = None


def voice_processes(count: int) -> ProcessPoolExecutor:
    """A pool of so many processes, in which `spoken` works; about 240 MB each."""
    return worker_processes(count, _begin)


def spoken(text: str, *, speaker: str, valence: float, arousal: float, seed: int) -> Samples:
    """`Voice.speak` with the voice of this process; runs in a pool of `voice_processes`."""
    assert _voice is not None, "not in a voice process"
    return _voice.speak(text, speaker=speaker, valence=valence, arousal=arousal, seed=seed)


def _begin() -> None:
    global _voice
    _voice = Voice()
