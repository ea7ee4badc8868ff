"""What one request costs the client, and whether it keeps a server full.

Ours, the plain openai client, bare aiohttp and two peers (bespokelabs-curator and distilabel, in
environments of their own), each against a local server in a process of its own: first one that
answers at once (CPU per request), then one that takes a second, with 64, 256 and 1,024 requests in
flight (requests per second over the ideal). Run it on a quiet machine, about six minutes:

    make peers
    .venv/bin/python -m benchmarks.client

The figures go to `client.json` beside this file.
"""

import asyncio
import json
import os
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

from benchmarks import peers
from benchmarks.peers import PROMPT
from corpus.servers.chat_requests import ChatRequest, complete
from corpus.servers.retry_and_failover import Endpoints
from tests.support.fake_servers import TextServerProcess

LIMITS = (64, 256, 1024)
LATENCY = 1.0
ROUNDS = 8
"""Requests in a measurement, in multiples of what is in flight."""
INSTANT_REQUESTS, INSTANT_IN_FLIGHT = 3000, 256
PEERS = ("curator", "distilabel")

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


async def send_all(ask: Ask, count: int, in_flight: int) -> None:
    """Sends so many requests, `in_flight` at once."""
    numbers = iter(range(count))

    async def worker() -> None:
        for n in numbers:
            messages = [{"role": "user", "content": f"{PROMPT} Topic {n}."}]
            await ask(ChatRequest("fake", messages, 0.85, 0.95, 128, n, thinking=False))

    await asyncio.gather(*(worker() for _ in range(in_flight)))


def plateau(counts: list[int], in_flight: int) -> float | None:
    """The mean number in flight between the first and the last moment of being full, per limit.

    None if it is never full.
    """
    full = [index for index, count in enumerate(counts) if count >= 0.98 * in_flight]
    if len(full) < 2:
        return None
    between = counts[full[0] : full[-1] + 1]
    return round(sum(between) / len(between) / in_flight, 3)


async def own_seconds(name: str, url: str, count: int, in_flight: int) -> dict[str, float]:
    """Sends requests with one of CLIENTS; `begun` is time.monotonic()."""
    async with CLIENTS[name](url) as ask:
        await send_all(ask, in_flight, in_flight)  # connections are made, code is warm
        begun, wall, cpu = time.monotonic(), time.perf_counter(), time.process_time()
        await send_all(ask, count, in_flight)
        return {
            "answered": count,
            "begun": begun,
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
        }


def measure(name: str, *, latency: float, count: int, in_flight: int) -> dict[str, float | None]:
    """The figures of one client."""
    with TextServerProcess(latency=latency) as server:
        if name in PEERS:
            taken = peers.ask("chat", name, server.base_url, count, in_flight)
        else:
            taken = asyncio.run(own_seconds(name, server.base_url, count, in_flight))
        report = server.report()
    expected = count + in_flight + (name == "curator")  # which asks once more, for limits
    if taken["answered"] != count or report["answered"] < expected:
        raise SystemExit(f"{name}: of {expected} requests, {report['answered']} were answered")
    rate = count / taken["seconds"]
    figures = {
        "requests": count,
        "sent_again": report["count"] - expected,
        "requests_per_second": round(rate, 1),
        "cpu_ms": round(1e3 * taken["cpu_seconds"] / count, 3),
    }
    if latency:
        # Both processes read the same clock; what came before was the warming.
        counts = [count for moment, count in report["samples"] if moment >= taken["begun"]]
        figures["over_ideal"] = round(rate * latency / in_flight, 3)
        figures["in_flight_over_limit_on_plateau"] = plateau(counts, in_flight)
        figures["most_in_flight"] = max(counts)
    return figures


def main() -> None:
    """Measures each client in turn and writes the figures."""
    names = [*CLIENTS, *(PEERS if peers.INSTALLED else ())]
    if not peers.INSTALLED:
        print(f"The peers are {peers.MISSING}: they are left out.")
    slow = {f"{limit} in flight, {LATENCY:g} s": limit for limit in LIMITS}
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        "load_before": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in ("openai", "aiohttp", "tenacity")},
        "peers": peers.versions(PEERS),
        "prompt_chars": len(PROMPT),
        "instant_server": {},
        **{title: {} for title in slow},
    }
    for name in names:
        figures = measure(name, latency=0.0, count=INSTANT_REQUESTS, in_flight=INSTANT_IN_FLIGHT)
        result["instant_server"][name] = figures
        print(f"{name:12} instant: {figures}", flush=True)
        for title, limit in slow.items():
            figures = measure(name, latency=LATENCY, count=ROUNDS * limit, in_flight=limit)
            result[title][name] = figures
            print(f"{name:12} {title}: {figures}", flush=True)
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
