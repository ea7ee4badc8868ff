"""What one request costs the client, and whether it keeps a server full.

Ours, the plain openai client and bare aiohttp, each against a local server in a process of its
own: first one that answers at once (CPU per request), then one that takes a second with 256
requests in flight (requests per second over the ideal). Run it on a quiet machine:

    .venv/bin/python -m benchmarks.client

The figures go to `client.json` beside this file.
"""

import asyncio
import json
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import openai
import orjson

from corpus.chat import ChatRequest, complete
from corpus.endpoints import Endpoints
from tests.servers import TextServerProcess

IN_FLIGHT = 256
LATENCY = 1.0
# About as long as the prompts of the corpus.
PROMPT = "You are a person who talks to a voice assistant about everyday matters. " * 20

Ask = Callable[[ChatRequest], Awaitable[object]]


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Ask]:
    """The pool, as the text stage uses it."""
    async with Endpoints([url]) as pool:
        yield lambda request: complete(pool, request, "a query")


@asynccontextmanager
async def plain_openai(url: str) -> AsyncIterator[Ask]:
    """The openai client as it comes, retries of its own included."""
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:

        def ask(request: ChatRequest) -> Awaitable[object]:
            fields: dict[str, Any] = orjson.loads(request.body())
            kwargs = fields.pop("chat_template_kwargs")
            return client.chat.completions.create(
                **fields, extra_body={"chat_template_kwargs": kwargs}
            )

        yield ask


@asynccontextmanager
async def bare_aiohttp(url: str) -> AsyncIterator[Ask]:
    """The least that Python can do: no retries, no checks."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(request: ChatRequest) -> object:
            headers = {"Content-Type": "application/json"}
            async with session.post(
                f"{url}/chat/completions", data=request.body(), headers=headers
            ) as response:
                return orjson.loads(await response.read())

        yield ask


CLIENTS = {"ours": ours, "openai": plain_openai, "aiohttp": bare_aiohttp}


async def send_all(ask: Ask, count: int) -> None:
    """Sends so many requests, IN_FLIGHT at once."""
    numbers = iter(range(count))

    async def worker() -> None:
        for n in numbers:
            messages = [{"role": "user", "content": f"{PROMPT} Topic {n}."}]
            await ask(ChatRequest("fake", messages, 0.85, 0.95, 128, n, thinking=False))

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


def plateau(samples: list[tuple[float, int]]) -> float:
    """The mean number in flight between the first and the last moment of being full, per limit."""
    full = [index for index, (_, count) in enumerate(samples) if count >= 0.98 * IN_FLIGHT]
    if len(full) < 2:
        return 0.0
    between = [count for _, count in samples[full[0] : full[-1] + 1]]
    return sum(between) / len(between) / IN_FLIGHT


async def measure(name: str, *, latency: float, count: int) -> dict[str, float]:
    """Sends `count` requests with one of CLIENTS."""
    with TextServerProcess(latency=latency) as server:
        async with CLIENTS[name](server.base_url) as ask:
            await send_all(ask, IN_FLIGHT)  # connections are made, code is warm
            wall, cpu = time.perf_counter(), time.process_time()
            await send_all(ask, count)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        samples = server.report()["samples"]
    figures = {"requests_per_second": round(count / wall, 1), "cpu_ms": round(1e3 * cpu / count, 3)}
    if latency:
        ideal = IN_FLIGHT / latency
        figures["over_ideal"] = round(count / wall / ideal, 3)
        figures["in_flight_over_limit_on_plateau"] = round(plateau(samples), 3)
    return figures


def main() -> None:
    """Measures each client in turn and writes the figures."""
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("openai", "aiohttp", "tenacity")},
        "in_flight": IN_FLIGHT,
        "prompt_chars": len(PROMPT),
        "instant_server": {},
        f"server_with_{LATENCY:g}_s_latency": {},
    }
    for name in CLIENTS:
        instant = asyncio.run(measure(name, latency=0.0, count=3000))
        slow = asyncio.run(measure(name, latency=LATENCY, count=12 * IN_FLIGHT))
        result["instant_server"][name] = instant
        result[f"server_with_{LATENCY:g}_s_latency"][name] = slow
        print(f"{name:8} instant: {instant}\n{'':8} slow:    {slow}")
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
