"""What can go wrong between here and a server: which of it may pass, and how to say it."""

import email.utils
import json
import os
import socket
import ssl
from collections.abc import Collection, Iterator
from time import time
from typing import Any

import aiohttp
import httpx2
import openai
import orjson

from corpus.errors import without_logins

SHOWN_CHARS = 200
"""Of a server's own message; enough to recognise it, too little to flood a terminal."""


class BadAnswer(Exception):
    """An answer arrived that cannot be used, such as half a JSON text; worth asking again."""


class ErrorInBody(openai.APIStatusError):
    """An error that a server sent as an answer of HTTP 200, with the status that it stands for."""

    def __init__(self, response: httpx2.Response, status: int, body: object) -> None:
        super().__init__("", response=response, body=body)
        self.status_code = status


TRANSIENT = (
    BadAnswer,
    openai.APIConnectionError,
    openai.APIResponseValidationError,
    httpx2.HTTPError,
    aiohttp.ClientError,
    json.JSONDecodeError,
    UnicodeError,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)
"""Failures without an HTTP status that may pass. Some libraries' own slip through the openai
client unwrapped, such as a malformed status line (aiohttp) or a body cut short (json)."""


def passing(error: openai.APIStatusError) -> bool:
    """Whether the same request may succeed later."""
    return error.status_code in (408, 409, 429) or error.status_code >= 500


def read_json(content: bytes) -> Any:  # noqa: ANN401 (JSON)
    """What the JSON of a body says.

    Raises:
        BadAnswer: it is not JSON; the message has its beginning.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:  # which also reads what is not quite JSON: byte order marks, UTF-16, NaN, lone surrogates
        return json.loads(content)
    except (ValueError, RecursionError):
        raise BadAnswer(f"the answer is not valid JSON: {beginning(content)}") from None


def beginning(content: bytes) -> str:
    """How a body begins, on one line."""
    if content.lstrip().startswith((b"data:", b"event:")):
        return f"a stream of events, which was not asked for: {_beginning(content)}"
    return _beginning(content)


def _beginning(content: bytes) -> str:
    return one_line(content[:SHOWN_CHARS].decode(errors="replace"))


def one_line(text: str) -> str:
    """A server's words, fit to be shown: on one line, without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


_STANDS_FOR = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "permission_error": 403,
    "rate_limit_error": 429,
}
"""What the error types and codes of OpenAI and Anthropic mean as a status."""


def error_in(reply: object, response: httpx2.Response) -> Exception | None:
    """The error that an answer of HTTP 200 holds instead of what was asked for, if it is one."""
    if not isinstance(reply, dict) or reply.get("choices") or reply.get("results"):
        return None
    error = reply.get("error") or (reply if reply.get("object") == "error" else None)
    if not error:
        return None
    told = error if isinstance(error, dict) else {}
    for value in (*map(told.get, ("code", "status", "type")), *map(reply.get, ("code", "status"))):
        if status := _status(value):
            return ErrorInBody(response, status, error)
    return BadAnswer(f"an error as HTTP 200: {_message(error)}")


def _status(value: object) -> int:
    """The HTTP status that an error's code or type is or stands for; 0 if it is none."""
    if isinstance(value, str) and value in _STANDS_FOR:
        return _STANDS_FOR[value]
    try:
        status = int(str(value))
    except ValueError:
        return 0
    return status if 400 <= status <= 599 else 0


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
    (
        ssl.SSLCertVerificationError,
        "its certificate is not trusted; SSL_CERT_FILE can name a file of certificates to trust",
    ),
    (aiohttp.ConnectionTimeoutError, "no connection could be made"),
    (TimeoutError, "no answer within {timeout:g} s"),
    (aiohttp.ClientPayloadError, "the answer broke off"),
    (aiohttp.ServerDisconnectedError, "the server closed the connection"),
)


def describe(error: Exception, *, timeout: float, secrets: Collection[str] = ()) -> str:
    """A failure in a few words; the causes know more than what the client makes of them.

    Args:
        error: what was raised.
        timeout: how long the try could take, in seconds.
        secrets: what must not be shown, should a server repeat it.
    """
    if isinstance(error, ErrorInBody):
        words = f"error {error.status_code} as HTTP 200: {_message(error.body) or 'no message'}"
    elif isinstance(error, openai.APIStatusError):
        words = f"HTTP {error.status_code}: {_message(error.body) or 'no message'}"
    elif isinstance(error, BadAnswer):
        words = str(error)
    else:
        words = _root(list(_causes(error))).format(timeout=timeout)
    # First, for a cut could leave half a secret.
    for secret in sorted((secret for secret in secrets if secret), key=len, reverse=True):
        words = words.replace(secret, "***")
    return without_logins(words)[:SHOWN_CHARS]


def _root(causes: list[BaseException]) -> str:
    for cause in causes:
        for kind, words in _IN_WORDS:
            if isinstance(cause, kind):
                return words
    for cause in reversed(causes):
        if isinstance(cause, socket.gaierror):
            return str(cause.strerror).lower()
        if isinstance(cause, ssl.SSLError):  # whose number is none of the system's
            return f"no secure connection: {cause.reason or cause}".lower()
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
    return f"{type(causes[-1]).__name__}: {causes[-1]}".replace("{", "(").replace("}", ")")


def _message(body: object) -> str:
    """What the server says, in whichever of the usual places it says it."""
    if isinstance(body, dict):
        found = next((body[key] for key in ("message", "detail", "error") if body.get(key)), body)
        body = found.get("message", found) if isinstance(found, dict) else found
    if not isinstance(body, str):
        try:
            body = json.dumps(body, ensure_ascii=False)
        except RecursionError:
            body = "more than can be shown"
    return one_line(body)


def retry_after(headers: httpx2.Headers) -> float:
    """Seconds that a server asks to be left alone for; 0 when it does not say."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def model_asked(error: openai.APIStatusError) -> str:
    """The model that a refused request named, for a message."""
    try:
        return f"the model '{orjson.loads(error.request.content)['model']}'"
    except (httpx2.RequestNotRead, orjson.JSONDecodeError, KeyError, TypeError):
        return error.request.url.path
