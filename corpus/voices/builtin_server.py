"""The builtin voice behind the OpenAI speech endpoint: `sympatheia serve voice`.

`POST /v1/audio/speech` takes `input`, `voice` and `response_format` and, as this voice is told a
point of the plane and not words, `valence`, `arousal` and `seed`. Clips are made in processes of
their own, so the server answers while it speaks, and each is the same to the byte whichever process
makes it.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from corpus.sound.clip_audio import encode_flac, encode_wav
from corpus.voices.builtin_processes import spoken, voice_processes
from corpus.voices.builtin_synthesis import MODEL_NAME, SPEAKERS, Unspeakable, text_problem
from corpus.voices.speech_api import error_response, first_problem, health, listen, read_body

MAX_BODY_BYTES = 64 * 1024
"""Far above the longest text allowed, escaped; more is refused without reading on."""

Coordinate = Annotated[float, Field(ge=-1.0, le=1.0)]


class SpeechRequest(BaseModel):
    """The body of a request. Without a point and without instructions, the plain point (0, 0).

    `instructions` are for voices that take words. Beside a point they are allowed, so that one
    client can serve both kinds, and the point decides.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    input: str
    voice: str
    model: str = MODEL_NAME
    response_format: Literal["flac", "wav"] = "flac"
    language: Literal["English"] = "English"
    instructions: str | None = None
    valence: Coordinate | None = None
    arousal: Coordinate | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    def problem(self) -> tuple[str, str] | None:
        """The first field that cannot be served and why; None if all can."""
        if self.model != MODEL_NAME:
            return "model", f"there is no model {self.model!r:.80}; this server has {MODEL_NAME}"
        if self.voice not in SPEAKERS:
            names = ", ".join(SPEAKERS)
            return "voice", f"there is no voice {self.voice!r:.80}; this server has {names}"
        missing = [name for name in ("valence", "arousal") if getattr(self, name) is None]
        if len(missing) == 1 or (missing and self.instructions):
            return missing[0], (
                "this voice takes a point of the plane and not words: give both valence and "
                "arousal, each in [-1, 1]"
            )
        text = text_problem(self.input)
        return ("input", text) if text else None


def serve(host: str = "127.0.0.1", port: int = 8092, workers: int = 1) -> None:
    """Serves the builtin voice until interrupted.

    Args:
        host: Address to listen on; the default is reachable from this machine alone.
        port: Port to listen on; 0 takes a free one.
        workers: Processes that speak, one core and about 240 MB each.

    Raises:
        InvalidInput: If the address cannot be listened on.
    """
    with listen(host, port) as listener:
        config = uvicorn.Config(application(workers), access_log=False)
        uvicorn.Server(config).run(sockets=[listener])


def application(workers: int) -> Starlette:
    """The server as an ASGI application, speaking in so many processes."""
    speakers = _Speakers(workers)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await speakers.speak(SpeechRequest(input="Ready.", voice=next(iter(SPEAKERS))))
        yield
        speakers.close()

    async def speech(request: Request) -> Response:
        try:
            order = SpeechRequest.model_validate_json(await read_body(request, MAX_BODY_BYTES))
        except ValidationError as error:
            return _refused(*first_problem(error, SpeechRequest))
        problem = order.problem()
        if problem:
            return _refused(*problem)
        try:
            clip = await speakers.speak(order)
        except Unspeakable as error:
            return _refused("input", str(error))
        except BrokenProcessPool:
            return error_response(503, "A speaking process died and is being replaced; ask again.")
        return Response(clip, media_type=f"audio/{order.response_format}")

    routes = [
        Route("/v1/audio/speech", speech, methods=["POST"]),
        Route("/v1/models", _models),
        Route("/health", health),
    ]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _failed})


class _Speakers:
    """Processes that speak; replaced together when one dies."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = voice_processes(workers)

    async def speak(self, order: SpeechRequest) -> bytes:
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, _speak, order)
        except BrokenProcessPool:
            if pool is self._pool:  # the first of its requests to notice
                self._pool = voice_processes(self._workers)
            raise

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _speak(order: SpeechRequest) -> bytes:
    samples = spoken(
        order.input,
        speaker=order.voice,
        valence=order.valence or 0.0,
        arousal=order.arousal or 0.0,
        seed=order.seed,
    )
    return encode_flac(samples) if order.response_format == "flac" else encode_wav(samples)


async def _models(_: Request) -> Response:
    model = {"id": MODEL_NAME, "object": "model", "owned_by": "sympatheia"}
    return JSONResponse({"object": "list", "data": [{**model, "voices": list(SPEAKERS)}]})


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, error.detail)


def _refused(field: str | None, why: str) -> Response:
    return error_response(400, f"{field}: {why}" if field else why, field=field)
