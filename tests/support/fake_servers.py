"""Local servers that speak the protocol of OpenAI-compatible ones and misbehave on demand.

`FakeTextServer` runs in a thread of the test and takes a Python callable; `TextServerProcess` is
the same in a process of its own, for benchmarks and for being killed, steered over HTTP. Both can
be stopped and started again on the same port. What they answer is in `tests.support.replies`.
"""

import argparse
import asyncio
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson
from aiohttp import web

from tests.support.replies import Behave, Body, completion, good_text, kind_of, sometimes

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Received:
    """A request for a completion; `at` is time.monotonic()."""

    body: Body
    at: float
    authorization: str


@dataclass
class TextApp:
    """What answers; its attributes may be changed while it runs."""

    latency: float = 0.0
    behave: Behave = lambda body, n: None
    kind: Callable[[Body], str] = kind_of
    models: tuple[str, ...] = ("fake",)
    of_model: dict[str, Any] = field(default_factory=dict)
    """What the list of models says of each, beside its name."""
    keep: bool = True
    models_status: int = 200
    requests: list[Received] = field(default_factory=list)
    count: int = 0
    answered: int = 0
    models_asked: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    samples: list[tuple[float, int]] = field(default_factory=list)
    """(time.monotonic(), requests in flight), every 50 ms."""

    def application(self) -> web.Application:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/control", self._report)
        app.router.add_post("/control", self._steer)
        app.cleanup_ctx.append(self._sampling)
        return app

    async def _sampling(self, app: web.Application) -> Any:
        async def sample() -> None:
            while True:
                self.samples.append((time.monotonic(), self.in_flight))
                await asyncio.sleep(0.05)

        task = asyncio.create_task(sample())
        yield
        task.cancel()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        n, self.count = self.count, self.count + 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            body = orjson.loads(await request.read())
            if self.keep:
                key = request.headers.get("Authorization", "")
                self.requests.append(Received(body, time.monotonic(), key))
            if self.latency:
                await asyncio.sleep(self.latency)
            reply = self.behave(body, n) or completion(
                good_text(body, self.kind(body)), model=body["model"]
            )
            response = reply if isinstance(reply, web.StreamResponse) else await reply(request)
            self.answered += 1
            return response
        finally:
            self.in_flight -= 1

    async def _models(self, request: web.Request) -> web.Response:
        self.models_asked += 1
        listed = [{"id": name, "object": "model"} | self.of_model for name in self.models]
        return web.json_response({"object": "list", "data": listed}, status=self.models_status)

    async def _report(self, request: web.Request) -> web.Response:
        names = ("count", "answered", "in_flight", "most_in_flight", "models_asked", "samples")
        report: dict[str, Any] = {name: getattr(self, name) for name in names}
        if "requests" in request.query:
            report["requests"] = [received.body for received in self.requests]
        return web.Response(body=orjson.dumps(report), content_type="application/json")

    async def _steer(self, request: web.Request) -> web.Response:
        orders = orjson.loads(await request.read())
        self.latency = orders.get("latency", self.latency)
        if "misbehave" in orders:
            self.behave = sometimes(orders["misbehave"], orders.get("share", 0.1))
        return web.json_response({})


async def _serve(
    app: TextApp, port: int, ready: Callable[[int], None], stop: asyncio.Event
) -> None:
    runner = web.AppRunner(app.application(), access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096, reuse_address=True)
    await site.start()
    assert site._server is not None
    ready(site._server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
    await stop.wait()
    await runner.cleanup()


class FakeTextServer(TextApp):
    """A server in a thread of this process; a context manager.

    `requests`, `samples` and the counters survive `stop` and `start`.
    """

    port = 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> Self:
        ready = threading.Event()

        def note(port: int) -> None:
            self.port = port
            ready.set()

        async def main() -> None:
            self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
            await _serve(self, self.port, note, self._stopping)

        self._thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
        self._thread.start()
        assert ready.wait(10), "the server did not start"
        return self

    def stop(self) -> None:
        """Closes the port and every connection, answered or not."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    @property
    def bodies(self) -> list[Body]:
        return [received.body for received in self.requests]


class TextServerProcess:
    """A server in a process of its own; a context manager."""

    def __init__(
        self,
        *,
        port: int = 0,
        latency: float = 0.0,
        misbehave: tuple[str, ...] = (),
        share: float = 0.1,
        keep: bool = False,
    ) -> None:
        self.port = port
        self._arguments = ["--latency", str(latency), "--share", str(share)]
        self._arguments += ["--keep"] if keep else []
        self._arguments += ["--misbehave", *misbehave] if misbehave else []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> Self:
        command = [sys.executable, "-m", "tests.support.fake_servers", "--port", str(self.port)]
        self._process = subprocess.Popen(
            command + self._arguments, stdout=subprocess.PIPE, cwd=_ROOT, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def kill(self) -> None:
        """Ends it at once, as a power cut would."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def report(self, *, requests: bool = False) -> dict[str, Any]:
        """Its counters and samples; with `requests` (and `keep`) also the bodies it was sent."""
        return self._control("?requests" if requests else "")

    def steer(self, **orders: Any) -> None:
        """Changes `latency`, `misbehave` (names) and `share` while it runs."""
        self._control("", orjson.dumps(orders))

    def _control(self, query: str, data: bytes | None = None) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self.port}/control{query}"
        with urllib.request.urlopen(address, data) as response:
            report: dict[str, Any] = orjson.loads(response.read())
        return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--misbehave", nargs="*", default=[], help="names of TRANSPORT, CONTENT...")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--keep", action="store_true", help="remember the requests' bodies")
    given = parser.parse_args()
    app = TextApp(latency=given.latency, keep=given.keep)
    if given.misbehave:
        app.behave = sometimes(given.misbehave, given.share)

    def announce(port: int) -> None:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()

    async def forever() -> None:
        await _serve(app, given.port, announce, asyncio.Event())

    asyncio.run(forever())


if __name__ == "__main__":
    main()
