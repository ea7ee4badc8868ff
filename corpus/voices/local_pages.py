"""Pages that a server of ours shows to who sits at this machine: who is let in, and what is said.

Nothing of a page comes from elsewhere or goes elsewhere, and no other site's page may use it.
"""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from corpus.errors import SympatheiaError, in_words
from corpus.voices.speech_api import error_response

PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; connect-src 'self'; media-src 'self' blob:; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of the page: it takes nothing from elsewhere, sends nothing elsewhere, and is kept nowhere."""


class OnlyHere:
    """Lets in what this machine asks by its own name, and no page of another site.

    A page of any site can have a browser ask a server on its user's machine, and by a name of its
    own that points here also read the answer. Both is told by what the browser sends along.

    Args:
        app: what is to be asked.
        from_elsewhere: what a person does who wants to ask it from another machine, as a sentence.
    """

    def __init__(self, app: ASGIApp, from_elsewhere: str) -> None:
        self._app = app
        self._from_elsewhere = from_elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403 to what comes from elsewhere."""
        if scope["type"] == "http" and (why := self._foreign(Headers(scope=scope))):
            await error_response(403, why)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _foreign(self, headers: Headers) -> str | None:
        """Why a request comes from elsewhere; None if it does not."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not _names_this_machine(host):
            return (
                f"This server answers to this machine's own names, such as localhost, and not to "
                f"{host!r:.80}. {self._from_elsewhere}"
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


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = error_response(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


async def _could_not(_: Request, error: Exception) -> Response:
    assert isinstance(error, SympatheiaError)
    return error_response(500, in_words(error))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=204)  # which nobody reads


async def _broke(_: Request, __: Exception) -> Response:
    return error_response(500, "The answer failed. Where the server was started it says why.")


ERROR_HANDLERS: Mapping[Any, Callable[..., Any]] = {
    HTTPException: _failed,
    SympatheiaError: _could_not,
    ClientDisconnect: _gone,
    Exception: _broke,
}
"""What is answered where something went wrong: a sentence, and never a trace."""
