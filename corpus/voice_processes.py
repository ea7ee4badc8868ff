"""Processes that each hold one builtin voice, one core each, for the speech stage and the server.

They ignore Ctrl-C, which is their parent's to handle, and end when the parent does, however that
is: `multiprocessing` alone would leave them waiting for ever after a kill.
"""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait

from corpus.voice import Samples, Voice

_voice: Voice | None = None


def voice_processes(count: int) -> ProcessPoolExecutor:
    """A pool of so many processes, in which `spoken` works; about 240 MB each."""
    # Spawned, not forked: a fork would carry along the parent's threads, loop and sockets.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_begin)


def spoken(text: str, *, speaker: str, valence: float, arousal: float, seed: int) -> Samples:
    """`Voice.speak` with the voice of this process; runs in a pool of `voice_processes`."""
    assert _voice is not None, "not in a voice process"
    return _voice.speak(text, speaker=speaker, valence=valence, arousal=arousal, seed=seed)


def _begin() -> None:
    global _voice
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    _voice = Voice()
