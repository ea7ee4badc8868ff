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

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from corpus.adapter.inference.chat_api import MOST_TOKENS, BadRequest, completion, read_question
from corpus.adapter.inference.corpus_queries import CorpusQuery, queries_to_ask
from corpus.adapter.inference.speech_system import LONGEST_SECONDS, Parts, SpeechSystem
from corpus.adapter.model import is_random
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.plan.prompt_files import BUNDLED, read_anchors
from corpus.voices.local_pages import ERROR_HANDLERS, PAGE_HEADERS, OnlyHere
from corpus.voices.speech_api import error_response, health, listen, read_body
from schemas.prompts import Anchor

MAX_BODY_BYTES = 32 * 2**20
"""A minute of stereo at 96 kHz and 16 bits is 23 MB, and 31 MB in base64."""
MOST_WAITING = 16
"""Questions at once, the one that is being answered among them: half a gigabyte at most."""
OTHERS = "To let others in, start it with --host and an address of the network."
PAGE = Path(__file__).with_name("talk.html")


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
        middleware=[Middleware(OnlyHere, OTHERS)] if only_here else [],
        exception_handlers={**ERROR_HANDLERS, BadRequest: _refused},
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


async def _page(_: Request) -> Response:
    return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=PAGE_HEADERS)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequest)
    return error_response(400, str(error), field=error.field)
