"""Qwen3-TTS behind the OpenAI speech endpoint: `sympatheia serve qwen-tts`.

`POST /v1/audio/speech` takes `input`, `voice`, `instructions`, `language`, `response_format`,
`seed` and `max_new_tokens`. Requests that wait are spoken together, texts of like length first, by
one process per device. As what a model says depends on everything it says at the same time, a clip
is repeatable only with its company: `POST /v1/audio/speech/batch` speaks up to 32 items as exactly
one batch, and a server with `--batch 1` speaks every request alone.

A request that cannot be served is refused by the name of its field. A clip that came out broken
(truncated, running away) is no clip: see `BAD_CLIP`.
"""

import asyncio
import base64
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from corpus.errors import InvalidInput, SympatheiaError
from corpus.voices.qwen_batches import Device, Ending, Gone, Line
from corpus.voices.qwen_model import Facts, Spoken, Utterance
from corpus.voices.speech_api import (
    CAME_TO_ITS_END,
    FINISH_REASON,
    error_response,
    first_problem,
    health,
    listen,
    read_body,
)

OWN_PYTHON = Path(".venv-qwen-tts/bin/python")
"""Where `make setup-qwen-tts` puts the interpreter that has the package."""
GRACE_SECONDS = 5
"""How long a server that is told to end waits for clips that are almost done."""
MOST_ITEMS = 32
MAX_CHARACTERS = 4096
"""The OpenAI endpoint's limit; about five minutes."""
MAX_BODY_BYTES = 1024 * 1024
"""Far above 32 of the longest texts allowed; more is refused without reading on."""
BAD_CLIP = 207
"""HTTP status of a clip that came out broken; the body is the error, with its `code`.

Not 5xx: our client would send the same request again, with the same seed to the same end, until its
patience is over. Not 4xx: that stops the run. Any 2xx is taken as a clip, which fails to decode and
is refused, and the slot is asked for again with another seed. Not 200, so that nobody who looks at
the status takes it for sound.
"""

_WORD = re.compile(r"[^\W_]")
_CONTROL = re.compile(r"<\|.*?\|>", re.DOTALL)
# Control characters but for white space, and halves of characters.
_UNSPEAKABLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_CHARACTERS)]
Body = TypeVar("Body", bound=BaseModel)


class SpeechRequest(BaseModel):
    """The body of a request, and an item of a batch."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: Text
    voice: str
    model: str | None = None
    instructions: Text | None = None
    language: str = "Auto"
    response_format: Literal["wav", "flac"] = "wav"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    max_new_tokens: Annotated[int, Field(ge=2)] | None = None

    def utterance(self, known: Facts, name: str) -> Utterance:
        """What is to be said, if the model called `name` can say it.

        Raises:
            _Refused: It cannot; names the first field and why.
        """
        if self.model not in (None, name):
            there = f"there is no model {self.model!r:.80}; this server has {name}"
            raise _Refused("model", there)
        for field, value, allowed in (
            ("voice", self.voice, known.speakers),
            ("language", self.language, known.languages),
        ):
            if value.lower() not in allowed:
                there = f"there is no {field} {value!r:.80}; this model has {', '.join(allowed)}"
                raise _Refused(field, there)
        if not _WORD.search(self.input):
            raise _Refused("input", "it has no word to speak")
        for field, text in (("input", self.input), ("instructions", self.instructions or "")):
            problem = _text_problem(text, known.control_tokens)
            if problem:
                raise _Refused(field, problem)
        if self.instructions and not known.takes_instructions:
            raise _Refused("instructions", "this model would drop them; only the 1.7B takes any")
        return Utterance(
            text=self.input,
            speaker=self.voice.lower(),
            language=self.language.lower(),
            instructions=self.instructions or "",
            seed=self.seed,
            max_new_tokens=self.max_new_tokens,
            container=self.response_format,
        )


def _text_problem(text: str, control_tokens: Sequence[str]) -> str | None:
    control = _CONTROL.search(text)
    token = control.group() if control else next((t for t in control_tokens if t in text), None)
    if token:
        return f"it has {token!r:.80}, which the model would obey and not speak"
    unspeakable = _UNSPEAKABLE.search(text)
    if unspeakable:
        return f"it has the control character U+{ord(unspeakable.group()):04X}"
    return None


class BatchRequest(BaseModel):
    """The body of a batch; what stands beside the items is their default."""

    model_config = ConfigDict(extra="allow", strict=True)

    items: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_ITEMS)]


class _Refused(Exception):
    """A request that cannot be served, with the field it fails at."""

    def __init__(self, field: str | None, why: str) -> None:
        self.field, self.why = field, why
        super().__init__(f"{field}: {why}" if field else why)


def serve(model: str, devices: Sequence[str], host: str, port: int, batch: int, name: str) -> None:
    """Serves a Qwen3-TTS CustomVoice model until SIGTERM or SIGINT; call on the main thread.

    Args:
        model: A model folder, or a name at the hub.
        devices: One for each process, as PyTorch names them.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        batch: Most requests spoken together; batches that a client sends are not split.
        name: What requests call the model; empty for the folder's name, or the name at the hub.

    Raises:
        InvalidInput: The address cannot be listened on, or the model not be loaded.
        SympatheiaError: A process died while it loaded the model.
    """
    name = name or (Path(model).resolve().name if Path(model).is_dir() else model)
    listener = listen(host, port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # uvicorn calls it too, when it has ended
    try:
        sys.stderr.write(f"Loading {model} on {', '.join(devices)}.\n")
        speakers = [Device(model, device) for device in devices]
        known = [loading.result() for loading in [one.load() for one in speakers]]
        sys.stderr.write(f"Serving {name} at http://{host}:{listener.getsockname()[1]}/v1.\n")
        app = application(speakers, known[0], name, batch)
        config = uvicorn.Config(app, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS)
        uvicorn.Server(config).run(sockets=[listener])
    except BrokenProcessPool as error:
        raise SympatheiaError(
            f"A process died while it loaded {model}; as a rule there was too little memory."
        ) from error
    finally:
        listener.close()
        # One that is loading or speaking would be waited for.
        for process in multiprocessing.active_children():
            process.kill()


def application(devices: Sequence[Device], known: Facts, name: str, batch: int) -> Starlette:
    """The server as an ASGI application."""
    line = Line(batch)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        working = [asyncio.create_task(device.work(line)) for device in devices]
        yield
        for task in working:
            task.cancel()

    async def speech(request: Request) -> Response:
        body = await read_body(request, MAX_BODY_BYTES)
        order = _read(SpeechRequest, body).utterance(known, name)
        (made,) = await line.speak([order], together=False, gone=request.is_disconnected)
        if made.clip is None:
            return error_response(BAD_CLIP, f"{made.why} Ask with another seed.", code=made.problem)
        # What ran into a limit is no clip, so what is one has ended.
        ended = {FINISH_REASON: CAME_TO_ITS_END}
        return Response(made.clip, media_type=f"audio/{order.container}", headers=ended)

    async def speech_batch(request: Request) -> Response:
        asked = _read(BatchRequest, await read_body(request, MAX_BODY_BYTES))
        orders = []
        for index, item in enumerate(asked.items):
            try:
                order = _read(SpeechRequest, {**(asked.model_extra or {}), **item})
                orders.append(order.utterance(known, name))
            except _Refused as error:
                raise _Refused(f"items.{index}.{error.field}", error.why) from None
        made = await line.speak(orders, together=True, gone=request.is_disconnected)
        return JSONResponse(_results(orders, made))

    async def models(_: Request) -> Response:
        model = {"id": name, "object": "model", "owned_by": "sympatheia"}
        told = {**model, "voices": known.speakers, "languages": known.languages}
        return JSONResponse({"object": "list", "data": [told]})

    routes = [
        Route("/v1/audio/speech", speech, methods=["POST"]),
        Route("/v1/audio/speech/batch", speech_batch, methods=["POST"]),
        Route("/v1/models", models),
        Route("/health", health),
    ]
    failures = (HTTPException, _Refused, Gone, Ending, SympatheiaError, BrokenProcessPool)
    handlers: dict[Any, Any] = dict.fromkeys(failures, _failed)
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


def _results(orders: Sequence[Utterance], made: Sequence[Spoken]) -> dict[str, Any]:
    """The answer to a batch, as vLLM-Omni gives it; each has a `code` or a reason to finish."""
    results: list[dict[str, Any]] = []
    for index, (order, one) in enumerate(zip(orders, made, strict=True)):
        if one.clip is None:
            told = {"status": "error", "error": one.why, "code": one.problem}
        else:
            sound = base64.b64encode(one.clip).decode()
            told = {
                "status": "success",
                "audio_data": sound,
                "media_type": f"audio/{order.container}",
                "finish_reason": CAME_TO_ITS_END,
            }
        results.append({"index": index, **told})
    failed = sum(one.clip is None for one in made)
    total = len(results)
    return {"results": results, "total": total, "succeeded": total - failed, "failed": failed}


def _read(kind: type[Body], body: bytes | dict[str, Any]) -> Body:
    """A body, or an item of one, as what it should be."""
    try:
        if isinstance(body, bytes):
            return kind.model_validate_json(body)
        return kind.model_validate(body)
    except ValidationError as error:
        raise _Refused(*first_problem(error, kind)) from None


async def _failed(_: Request, error: Exception) -> Response:
    match error:
        case _Refused():
            return error_response(400, str(error), field=error.field)
        case HTTPException():
            return error_response(error.status_code, error.detail)
        case Gone():
            return Response(status_code=499)  # nobody reads it
        case Ending():
            return error_response(
                503, "The server is ending; ask another, or again when it is back."
            )
        case BrokenProcessPool():
            return error_response(503, "A speaking process died and is being replaced; ask again.")
    return error_response(500, str(error))


def launch(python: Path | None, **settings: object) -> NoReturn:
    """Becomes the server, in the interpreter that has the package.

    Args:
        python: That interpreter; None for the one of `make setup-qwen-tts` in the working folder,
            or else the running one.
        settings: Those of `serve`.

    Raises:
        InvalidInput: The interpreter is not there, or lacks the package.
    """
    chosen = python or (OWN_PYTHON if OWN_PYTHON.exists() else Path(sys.executable))
    look = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))"
    try:
        found = subprocess.run([chosen, "-c", look, "corpus", "qwen_tts"], check=False)
    except OSError as error:
        raise InvalidInput(f"--python {chosen} cannot be started: {error.strerror}.") from error
    if found.returncode:
        raise InvalidInput(
            f"{chosen} lacks qwen-tts or this project. Make an environment that has both with "
            "`make setup-qwen-tts`, or name its interpreter with --python."
        )
    os.execv(chosen, (chosen, "-m", "corpus.voices.qwen_server", json.dumps(settings)))


def main() -> None:
    """What `launch` starts: `serve` with the settings it is given as JSON."""
    try:
        serve(**json.loads(sys.argv[1]))
    except SympatheiaError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
