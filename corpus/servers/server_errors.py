"""What can go wrong between here and a server: which of it may pass, and how to say it."""

import email.utils
import json
import os
import socket
from collections.abc import Iterator
from time import time

import aiohttp
import httpx2
import openai
import orjson

SHOWN_CHARS = 200
"""Of a server's own message; enough to recognise it, too little to flood a terminal."""


class BadAnswer(Exception):
    """An answer arrived that cannot be used, such as half a JSON text; worth asking again."""


TRANSIENT = (
    BadAnswer,
    openai.APIConnectionError,
    openai.APIResponseValidationError,
    httpx2.HTTPError,
    aiohttp.ClientError,
    json.JSONDecodeError,
    UnicodeDecodeError,
    ConnectionError,
    TimeoutError,
)
"""Failures without an HTTP status that may pass. Some libraries' own slip through the openai
client unwrapped, such as a malformed status line (aiohttp) or a body cut short (json)."""


def passing(error: openai.APIStatusError) -> bool:
    """Whether the same request may succeed later."""
    return error.status_code in (408, 409, 429) or error.status_code >= 500


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def cannot_connect(error: BaseException) -> bool:
    """Whether no connection came about at all, so that the server is down or not there."""
    unreachable = aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError
    return any(isinstance(cause, unreachable) for cause in _causes(error))


_IN_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (json.JSONDecodeError, "the answer is not valid JSON"),
    (UnicodeDecodeError, "the answer is not valid JSON"),
    (aiohttp.ConnectionTimeoutError, "no connection could be made"),
    (TimeoutError, "no answer within {timeout:g} s"),
    (aiohttp.ClientPayloadError, "the answer broke off"),
    (aiohttp.ServerDisconnectedError, "the server closed the connection"),
)


def describe(error: Exception, *, timeout: float, secret: str = "") -> str:
    """A failure in a few words; the causes know more than what the client makes of them.

    Args:
        error: what was raised.
        timeout: how long the try could take, in seconds.
        secret: what must not be shown, should a server repeat it.
    """
    if isinstance(error, openai.APIStatusError):
        words = f"HTTP {error.status_code}: {_message(error) or 'no message'}"
    elif isinstance(error, BadAnswer):
        words = str(error)
    else:
        words = _root(list(_causes(error))).format(timeout=timeout)
    # First, for a cut could leave half a secret.
    words = words.replace(secret, "***") if secret else words
    return words[:SHOWN_CHARS]


def _root(causes: list[BaseException]) -> str:
    for cause in causes:
        for kind, words in _IN_WORDS:
            if isinstance(cause, kind):
                return words
    for cause in reversed(causes):
        if isinstance(cause, socket.gaierror):
            return str(cause.strerror).lower()
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
    return f"{type(causes[-1]).__name__}: {causes[-1]}".replace("{", "(").replace("}", ")")


def _message(error: openai.APIStatusError) -> str:
    """What the server says, in whichever of the usual places it says it."""
    body = error.body
    if isinstance(body, dict):
        found = next((body[key] for key in ("message", "detail", "error") if body.get(key)), body)
        body = found.get("message", found) if isinstance(found, dict) else found
    text = body if isinstance(body, str) else orjson.dumps(body).decode()
    return " ".join(text.split())


def retry_after(headers: httpx2.Headers) -> float:
    """Seconds that a server asks to be left alone for; 0 when it does not say."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return 0.0


def model_asked(error: openai.APIStatusError) -> str:
    """The model that a refused request named, for a message."""
    try:
        return f"the model '{orjson.loads(error.request.content)['model']}'"
    except (httpx2.RequestNotRead, orjson.JSONDecodeError, KeyError, TypeError):
        return error.request.url.path
