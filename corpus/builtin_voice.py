"""Speaks with the builtin voice in processes of its own, one a core, for the speech stage."""

import asyncio
from concurrent.futures.process import BrokenProcessPool

from corpus.clips import finish_samples
from corpus.errors import InvalidInput, SympatheiaError
from corpus.speech import Clip, ClipRequest
from corpus.voice import MODEL_NAME, SPEAKERS
from corpus.voice_processes import spoken, voice_processes
from schemas.audio import SAMPLE_RATE
from schemas.recipe import Speech


def require_speakers(speech: Speech) -> None:
    """Checks that the builtin voice has the speakers a recipe names.

    Raises:
        InvalidInput: it has not.
    """
    for key, name in (
        ("speech.query_voice", speech.query_voice),
        ("speech.response_voice", speech.response_voice),
    ):
        if name not in SPEAKERS:
            raise InvalidInput(
                f"{key}: the builtin voice has no speaker '{name}'; it has {', '.join(SPEAKERS)}."
            )


class BuiltinVoice:
    """The builtin voice on `speech.concurrency` processes; a context manager."""

    model = MODEL_NAME
    takes_points = True

    def __init__(self, speech: Speech) -> None:
        self._pool = voice_processes(speech.concurrency)

    def __enter__(self) -> "BuiltinVoice":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    async def speak(self, request: ClipRequest, what: str) -> Clip:
        """Speaks one clip in a free process.

        Raises:
            SympatheiaError: a process died, for want of memory perhaps.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, _speak, request)
        except BrokenProcessPool:
            raise SympatheiaError(
                f"A process of the builtin voice died while it spoke {what}, perhaps for want of "
                "memory. Lower speech.concurrency and run the same command again; every finished "
                "clip is kept."
            ) from None


def _speak(request: ClipRequest) -> Clip:
    assert request.point is not None
    samples = spoken(
        request.text,
        speaker=request.voice,
        valence=request.point.valence,
        arousal=request.point.arousal,
        seed=request.seed,
    )
    return Clip(*finish_samples(samples[:, None], SAMPLE_RATE, request.loudness))
