"""Speaks with the builtin voice in worker processes, for the speech stage."""

from corpus.compute.local_or_dask import Workers
from corpus.errors import InvalidInput
from corpus.sound.clip_audio import finish_samples
from corpus.speech.clip_requests import Clip, ClipRequest
from corpus.voices.builtin_processes import spoken
from corpus.voices.builtin_synthesis import MODEL_NAME, SPEAKERS
from schemas.audio import SAMPLE_RATE
from schemas.recipe import Speech


def require_speakers(speech: Speech) -> None:
    """Checks that the builtin voice has the speakers a recipe names.

    Raises:
        InvalidInput: it has not.
    """
    for key, name, cast in (
        ("speech.query_voice", speech.query_voice, speech.query_voices),
        ("speech.response_voice", speech.response_voice, speech.response_voices),
    ):
        if not cast and name not in SPEAKERS:
            raise InvalidInput(
                f"{key}: the builtin voice has no speaker '{name}'; it has {', '.join(SPEAKERS)}."
            )


def tts_model(speech: Speech) -> str:
    """What speaks by a recipe, as rows and cards name it."""
    return speech.model or MODEL_NAME


class BuiltinVoice:
    """The builtin voice on `speech.concurrency` processes, or on a Dask cluster.

    A context manager.

    Args:
        speech: the recipe's section.
        dask: the address of the cluster's scheduler, if one is to speak.
    """

    model = MODEL_NAME
    takes_points = True

    def __init__(self, speech: Speech, dask: str = "") -> None:
        self._workers = Workers("speaks", speech.concurrency, dask)

    def __enter__(self) -> "BuiltinVoice":
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()

    @property
    def at_once(self) -> int:
        """How many clips asked for at a time keep every worker busy.

        Raises:
            SympatheiaError: the cluster cannot be reached, or has no workers.
        """
        return self._workers.at_once

    async def speak(self, request: ClipRequest, what: str) -> Clip:
        """Speaks one clip in a free worker.

        Raises:
            SympatheiaError: a process died, for want of memory perhaps, or the cluster is gone.
        """
        return await self._workers.call(speak, request)


def speak(request: ClipRequest) -> Clip:
    """Speaks, checks and finishes one clip in this thread."""
    assert request.point is not None
    samples = spoken(
        request.text,
        speaker=request.speaker or request.voice,
        valence=request.point.valence,
        arousal=request.point.arousal,
        seed=request.seed,
    )
    return Clip(*finish_samples(samples[:, None], SAMPLE_RATE, request.loudness))
