"""What the servers of voices have in common: listening, reading a body, errors as OpenAI's."""

import socket

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from corpus.errors import InvalidInput

FINISH_REASON, CAME_TO_ITS_END = "X-Finish-Reason", "stop"
"""The header by which a server says that the voice came to its end by itself; in a batch each clip
has the same as `finish_reason`, which is the word that chat completions have for it."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        InvalidInput: The address cannot be listened on.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise InvalidInput(
            f"Cannot listen on {host} port {port}: {error}. Choose another with --port."
        ) from error


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: It has more than `most` bytes; no more of it is read then.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, f"The body is larger than {most} bytes.")
    return bytes(body)


def first_problem(error: ValidationError, kind: type[BaseModel]) -> tuple[str | None, str]:
    """The first field of a body that is wrong for its kind, and why."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(map(str, problem["loc"])) or None
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) > 1:
        return field, "this field is unknown"
    if problem["type"] == "extra_forbidden":
        return field, f"this field is unknown; allowed are {', '.join(kind.model_fields)}"
    return field, problem["msg"]


def error_response(
    status: int, message: str, *, field: str | None = None, code: str | None = None
) -> Response:
    """An error as OpenAI's servers write it."""
    kind = "invalid_request_error" if 400 <= status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": field, "code": code}
    return JSONResponse({"error": error}, status_code=status)


async def health(_: Request) -> Response:
    """Answers that the server is there."""
    return JSONResponse({"status": "ok"})
