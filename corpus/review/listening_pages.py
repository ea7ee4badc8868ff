"""The pages of a listening test: served to this machine, or one file for each rater to hand out."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from corpus.review.listening_test import ListeningTest, clip_path
from corpus.review.ratings import Ratings, save, saved
from corpus.review.review_server import NO_STORE, body_of, local_application, run_server
from corpus.store.files import write_whole
from corpus.voices.local_pages import PAGE_HEADERS

PAGE = Path(__file__).with_name("listen.html")
PLACE_OF_TEST = "null<!-- test -->"
"""Where a page to hand out holds its test; a served one asks for it."""


def shown(test: ListeningTest, rater: int, source: Callable[[str], str]) -> dict[str, Any]:
    """What the page of a rater shows: nothing of it tells whose a clip is.

    Args:
        test: the test.
        rater: whose page.
        source: where the sound of a clip is, by its name.
    """
    return {
        "test": test.test,
        "rater": rater,
        "trials": [
            {
                "number": trial.number,
                "emotion": trial.emotion,
                "query": trial.query,
                "clips": [{"name": clip.name, "source": source(clip.name)} for clip in trial.clips],
            }
            for trial in test.of(rater)
        ],
    }


def write_pages(folder: Path, test: ListeningTest) -> Iterator[Path]:
    """Writes a page for each rater, with its sounds in it; gives their paths."""
    page = PAGE.read_text(encoding="utf-8")

    def inside(name: str) -> str:
        return f"data:audio/flac;base64,{b64encode(clip_path(folder, name).read_bytes()).decode()}"

    for rater in range(1, test.raters + 1):
        held = json.dumps(shown(test, rater, inside)).replace("<", "\\u003c")
        path = folder / f"rater-{rater:02d}.html"
        write_whole(path, page.replace(PLACE_OF_TEST, held).encode())
        yield path


def serve(folder: Path, test: ListeningTest, port: int, ready: Callable[[str], object]) -> None:
    """Serves until interrupted; as `corpus.review.review_server.serve`."""
    run_server(application(folder, test), port, ready)


def application(folder: Path, test: ListeningTest) -> Starlette:
    """The server as an ASGI application."""
    names = {clip.name for trial in test.trials for clip in trial.clips}

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=PAGE_HEADERS)

    async def trials(request: Request) -> Response:
        rater = request.path_params["rater"]
        if not 1 <= rater <= test.raters:
            raise HTTPException(404, f"Raters have the numbers from 1 to {test.raters}.")
        said = saved(folder, rater)
        given = said.trials if said else {}
        page = shown(test, rater, lambda name: f"/clips/{name}")
        return JSONResponse(page | {"given": given}, headers=NO_STORE)

    async def ratings(request: Request) -> Response:
        save(folder, test, await body_of(request, Ratings))
        return JSONResponse({"saved": True}, headers=NO_STORE)

    async def clip(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in names:
            raise HTTPException(404, "There is no such clip in this test.")
        sound = clip_path(folder, name).read_bytes()
        return Response(sound, media_type="audio/flac", headers=NO_STORE)

    return local_application(
        [
            Route("/", page),
            Route("/api/trials/{rater:int}", trials),
            Route("/api/ratings", ratings, methods=["POST"]),
            Route("/clips/{name}", clip),
        ]
    )
