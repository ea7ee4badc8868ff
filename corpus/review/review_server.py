"""The server behind `sympatheia review`: a page over a run, for this machine alone."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import uvicorn
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from corpus.errors import InvalidInput
from corpus.review.desk import RATINGS, Desk, Said
from corpus.review.verdicts import MOST_NAME_CHARS
from corpus.voices.local_pages import ERROR_HANDLERS, PAGE_HEADERS, OnlyHere
from corpus.voices.speech_api import error_response, health, listen, read_body

HOST = "127.0.0.1"
"""What people say of a run goes to no other machine."""
FROM_ELSEWHERE = "To open its page from another machine, forward the port, by ssh -L perhaps."
MAX_BODY_BYTES = 256 * 2**10
"""Forty parts with the longest notes, in four bytes a character, are 320 kB; a page sends five."""
PAGE = Path(__file__).with_name("review.html")
NO_STORE = {"Cache-Control": "no-store"}

Body = TypeVar("Body", bound=BaseModel)


def serve(desk: Desk, reviewer: str, port: int, ready: Callable[[str], object]) -> None:
    """Serves until interrupted.

    Args:
        desk: what is reviewed.
        reviewer: whom the page takes its user for until they say another name.
        port: to listen on; 0 takes a free one.
        ready: called with the address of the page when it can be opened.

    Raises:
        InvalidInput: the port cannot be listened on.
    """
    run_server(application(desk, reviewer), port, ready)


def run_server(app: Starlette, port: int, ready: Callable[[str], object]) -> None:
    """Serves an application on loopback until interrupted; as `serve`."""
    with listen(HOST, port) as listener:
        config = uvicorn.Config(app, access_log=False, log_level="warning")
        ready(f"http://{HOST}:{listener.getsockname()[1]}/")
        uvicorn.Server(config).run(sockets=[listener])


def local_application(routes: list[Route]) -> Starlette:
    """An application that answers to this machine's own pages alone."""
    return Starlette(
        routes=[*routes, Route("/health", health)],
        middleware=[Middleware(OnlyHere, FROM_ELSEWHERE)],
        exception_handlers={**ERROR_HANDLERS, InvalidInput: _refused, OSError: _disk},
    )


def application(desk: Desk, reviewer: str = "") -> Starlette:
    """The server as an ASGI application.

    One request has the desk at a time, and none takes long: a verdict waits for the disk.
    """

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=PAGE_HEADERS)

    async def run(request: Request) -> Response:
        who = _reviewer(request)
        desk.refresh()
        return JSONResponse(
            {
                "name": desk.name,
                "reviewer": reviewer,
                "pairs": len(desk.pairs),
                "ratings": [
                    {"name": name, "role": role, "asked": asked}
                    for name, (role, asked) in RATINGS.items()
                ],
                "next": desk.next_open(who),
                "cells": desk.progress(who),
            },
            headers=NO_STORE,
        )

    async def pair(request: Request) -> Response:
        desk.refresh()
        shown = desk.shown(request.path_params["place"], _reviewer(request))
        return JSONResponse(shown, headers=NO_STORE)

    async def verdicts(request: Request) -> Response:
        said = await body_of(request, Said)
        following = desk.take(said)
        cells = desk.progress(said.reviewer)
        return JSONResponse({"next": following, "cells": cells}, headers=NO_STORE)

    async def clip(request: Request) -> Response:
        sound = await asyncio.to_thread(desk.sound, request.path_params["digest"])
        if not sound:
            raise HTTPException(404, "There is no such clip in this review.")
        return Response(sound, media_type="audio/flac", headers=NO_STORE)

    return local_application(
        [
            Route("/", page),
            Route("/api/run", run),
            Route("/api/pairs/{place:int}", pair),
            Route("/api/verdicts", verdicts, methods=["POST"]),
            Route("/clips/{digest}", clip),
        ]
    )


async def body_of(request: Request, kind: type[Body]) -> Body:
    """The body of a request, read as what it should be.

    Raises:
        HTTPException: it is something else.
    """
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "Send JSON, and say so in Content-Type.")
    try:
        return kind.model_validate_json(await read_body(request, MAX_BODY_BYTES))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise HTTPException(400, f"{where}: {problem['msg']}") from error


def _reviewer(request: Request) -> str:
    return request.query_params.get("reviewer", "")[:MOST_NAME_CHARS]


async def _refused(_: Request, error: Exception) -> Response:
    return error_response(400, str(error))


async def _disk(_: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    return error_response(
        507, f"It could not be saved: {error.strerror}. Make room, and try again."
    )
