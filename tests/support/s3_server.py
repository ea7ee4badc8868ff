"""A local S3: moto's server in a thread, behind a middleware that misbehaves on demand.

Clients find it by their environment, `S3Server.env`, as they would find any S3-compatible server.
"""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Kind = Literal["slow down", "error", "drop", "slow", "short"]
Environ = dict[str, Any]
Respond = Callable[..., Any]

SLOW_SECONDS = 0.3
KEY, SECRET = "keyOfTheTests", "secretOfTheTests"

_ERRORS = {
    "slow down": ("503 Slow Down", "SlowDown", "Please reduce your request rate."),
    "error": ("500 Internal Server Error", "InternalError", "We encountered an internal error."),
    "denied": ("403 Forbidden", "InvalidAccessKeyId", "The access key is not known here."),
}
_BODY = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"


@dataclass
class Fault:
    """What happens to the next `count` requests whose 'METHOD /path?query' a pattern matches.

    "slow" answers after a while, "short" ends the answer half way, "drop" gives none.
    """

    kind: Kind
    pattern: str
    count: int = 1


class S3Server:
    """The server; a context manager. `faults` may be changed while it runs."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.hit: list[Kind] = []
        self._lock = threading.Lock()
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __enter__(self) -> Self:
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def env(self) -> dict[str, str]:
        """What leads a client here; of its retries only one, to keep waiting short."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "2",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    @property
    def client(self) -> Any:
        """Amazon's own client of it, for looking behind the scenes."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Every object of a bucket by its key."""
        client = self.client
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def _answer(self, environ: Environ, respond: Respond) -> Iterable[bytes]:
        line = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        kind = self._noted(line)
        if f"Credential={KEY}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return _error("denied", environ, respond)
        if kind == "drop":
            _hang_up(environ)
            raise ConnectionResetError  # which the server takes for a client that went away
        if kind in ("slow down", "error"):
            return _error(kind, environ, respond)
        if kind == "slow":
            time.sleep(SLOW_SECONDS)
        answer = self._moto(environ, respond)
        return _half(answer, environ) if kind == "short" else answer

    def _noted(self, line: str) -> Kind | None:
        with self._lock:
            self.requests.append(line)
            for fault in self.faults:
                if fault.count and re.search(fault.pattern, line):
                    fault.count -= 1
                    self.hit.append(fault.kind)
                    return fault.kind
        return None


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open, as S3's do

    def log(self, level: str, message: str, *args: object) -> None:
        pass


def _error(name: str, environ: Environ, respond: Respond) -> list[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    status, code, message = _ERRORS[name]
    body = _BODY.format(code, message).encode()
    respond(status, [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
    return [body]


def _half(answer: Iterable[bytes], environ: Environ) -> Iterator[bytes]:
    body = b"".join(answer)
    yield body[: len(body) // 2]
    _hang_up(environ)


def _hang_up(environ: Environ) -> None:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
