"""A system that answers speech with speech, over HTTP: `sympatheia serve adapter`.

`POST /v1/chat/completions` is OpenAI's, with sound in and sound out, and `/` is a page to try it.
Nothing that is asked or answered is kept. One question is answered at a time, in a thread, so the
server goes on answering everything else.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from corpus.adapter.inference.chat_api import MOST_TOKENS, BadRequest, completion, read_question
from corpus.adapter.inference.corpus_queries import CorpusQuery, queries_to_ask
from corpus.adapter.inference.speech_system import LONGEST_SECONDS, Parts, SpeechSystem
from corpus.adapter.model import is_random
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.errors import SympatheiaError, in_words
from corpus.plan.prompt_files import BUNDLED, read_anchors
from corpus.voices.speech_api import error_response, health, listen, read_body
from schemas.prompts import Anchor

MAX_BODY_BYTES = 32 * 2**20
"""A minute of stereo at 96 kHz and 16 bits is 23 MB, and 31 MB in base64."""
MOST_WAITING = 16
"""Questions at once, the one that is being answered among them: half a gigabyte at most."""
PAGE = Path(__file__).with_name("talk.html")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; connect-src 'self'; media-src blob:; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of the page: it takes nothing from elsewhere, sends nothing elsewhere, and is kept nowhere."""


@dataclass(frozen=True)
class Shown:
    """What the server says of itself.

    Attributes:
        model: what the model is called.
        random_weights: whether it has learnt nothing at all.
        anchors: emotions by name, with their points.
        queries: of a corpus, to ask.
    """

    model: str
    random_weights: bool
    anchors: Sequence[Anchor]
    queries: Sequence[CorpusQuery] = ()

    @classmethod
    def of(cls, parts: Parts, dataset: DatasetFolder | None) -> "Shown":
        """Of checkpoints that are there, and a corpus, whose anchors may be others than our own.

        Raises:
            SympatheiaError: A file of the corpus is missing or damaged.
        """
        # Not by its whole path, which is nobody's business who asks.
        name = "+".join(Path(part).name or part for part in (parts.base, parts.adapter) if part)
        if dataset is None:
            return cls(name, is_random(parts.base), read_anchors(BUNDLED).anchors)
        anchors = dataset.blueprint.prompts.anchors
        return cls(name, is_random(parts.base), anchors, queries_to_ask(dataset))


def serve(
    parts: Parts, host: str, port: int, corpus: Path | None, ready: Callable[[], object]
) -> None:
    """Serves until interrupted.

    Args:
        parts: The checkpoints.
        host: Address to listen on. On one of this machine's own, requests of other sites' pages
            are refused.
        port: Port to listen on.
        corpus: A run or dataset folder with queries to ask.
        ready: Called when all is loaded.

    Raises:
        SympatheiaError: The address cannot be listened on, or a checkpoint or the corpus is not
            there.
    """
    with listen(host, port) as listener:
        dataset = DatasetFolder(corpus) if corpus else None
        system = SpeechSystem.from_pretrained(parts)
        shown = Shown.of(parts, dataset)
        own = ip_address(listener.getsockname()[0]).is_loopback
        config = uvicorn.Config(application(system, shown, only_here=own), access_log=False)
        ready()
        uvicorn.Server(config).run(sockets=[listener])


def application(system: SpeechSystem, shown: Shown, *, only_here: bool = True) -> Starlette:
    """The server as an ASGI application.

    Args:
        system: What answers.
        shown: What is said of it.
        only_here: Whether requests are refused that came by another name than this machine's own,
            or from another site's page.
    """
    turns = _Turns()

    async def chat(request: Request) -> Response:
        question = await asyncio.to_thread(read_question, await read_body(request, MAX_BODY_BYTES))
        async with turns:
            if await request.is_disconnected():
                return Response(status_code=204)  # which nobody reads
            answer = await asyncio.to_thread(
                system.answer, question.sound, question.affect, question.seed, question.sampling
            )
        made = await asyncio.to_thread(completion, question, answer, shown.model)
        made["sympatheia"]["random_weights"] = shown.random_weights
        return JSONResponse(made, headers={"Cache-Control": "no-store"})

    routes = [
        Route("/", _page),
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/health", health),
        *_facts(shown),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(_OnlyHere)] if only_here else [],
        exception_handlers={
            HTTPException: _failed,
            BadRequest: _refused,
            SympatheiaError: _could_not,
            ClientDisconnect: _gone,
            Exception: _broke,
        },
    )


def _facts(shown: Shown) -> list[Route]:
    """What can be looked up: the model, the anchors, and queries with their sounds."""
    model = {
        "id": shown.model,
        "object": "model",
        "owned_by": "sympatheia",
        "random_weights": shown.random_weights,
        "longest_question_seconds": LONGEST_SECONDS,
        "most_tokens": MOST_TOKENS,
    }
    anchors = [{"name": one.name, **one.point.model_dump()} for one in shown.anchors]
    queries = {query.id: query for query in shown.queries}

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [model]})

    async def points(_: Request) -> Response:
        return JSONResponse({"anchors": anchors})

    async def listed(_: Request) -> Response:
        return JSONResponse({"queries": [query.described() for query in shown.queries]})

    async def sound(request: Request) -> Response:
        query = queries.get(request.path_params["id"])
        if query is None:
            raise HTTPException(404, "There is no such query; /v1/queries lists those there are.")
        return Response(query.sound, media_type="audio/flac")

    return [
        Route("/v1/models", models),
        Route("/v1/anchors", points),
        Route("/v1/queries", listed),
        Route("/v1/queries/{id:path}", sound),
    ]


class _Turns:
    """One question at a time; others wait, as many as there is room for."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._there = 0

    async def __aenter__(self) -> None:
        if self._there >= MOST_WAITING:
            raise HTTPException(
                503,
                f"{MOST_WAITING} questions are waiting already. Ask again in a minute.",
                {"Retry-After": "60"},
            )
        self._there += 1
        try:
            await self._lock.acquire()
        except asyncio.CancelledError:
            self._there -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self._there -= 1
        self._lock.release()


class _OnlyHere:
    """Lets in what this machine asks by its own name, and no page of another site.

    A page of any site can have a browser ask a server on its user's machine, and by a name of its
    own that points here also read the answer. Both is told by what the browser sends along.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403 to what comes from elsewhere."""
        if scope["type"] == "http" and (why := _foreign(Headers(scope=scope))):
            await error_response(403, why)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _foreign(headers: Headers) -> str | None:
    """Why a request comes from elsewhere; None if it does not."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if not _names_this_machine(host):
        return (
            f"This server answers to this machine's own names, such as localhost, and not to "
            f"{host!r:.80}. To let others in, start it with --host and an address of the network."
        )
    if origin is not None and urlsplit(origin).netloc != host:
        return f"A page of {origin!r:.80} may not ask this server; its own page may."
    return None


def _names_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:  # neither a name with a port nor an address
        return False


async def _page(_: Request) -> Response:
    return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=HEADERS)


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = error_response(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequest)
    return error_response(400, str(error), field=error.field)


async def _could_not(_: Request, error: Exception) -> Response:
    assert isinstance(error, SympatheiaError)
    return error_response(500, in_words(error))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=204)  # which nobody reads


async def _broke(_: Request, __: Exception) -> Response:
    return error_response(500, "The answer failed. Where the server was started it says why.")
