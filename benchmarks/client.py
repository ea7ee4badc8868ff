"""What one request costs the client, and whether it keeps a server full.

Ours, the plain openai client, bare aiohttp and two peers (bespokelabs-curator and distilabel, in
an environment of their own), each against a local server in a process of its own: first one that
answers at once (CPU per request), then one that takes a second, with 64, 256 and 1,024 requests in
flight (requests per second over the ideal). Run it on a quiet machine, about five minutes:

    make peers
    .venv/bin/python -m benchmarks.client

The figures go to `client.json` beside this file.
"""

import asyncio
import json
import os
import platform
import subprocess
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

LIMITS = (64, 256, 1024)
LATENCY = 1.0
ROUNDS = 8
"""Requests in a measurement, in multiples of what is in flight."""
INSTANT_REQUESTS, INSTANT_IN_FLIGHT = 3000, 256
PEERS = ("curator", "distilabel")
PEERS_PYTHON = Path(".venv-peers/bin/python")
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


async def send_all(ask: Ask, count: int, in_flight: int) -> None:
    """Sends so many requests, `in_flight` at once."""
    numbers = iter(range(count))

    async def worker() -> None:
        for n in numbers:
            messages = [{"role": "user", "content": f"{PROMPT} Topic {n}."}]
            await ask(ChatRequest("fake", messages, 0.85, 0.95, 128, n, thinking=False))

    await asyncio.gather(*(worker() for _ in range(in_flight)))


def plateau(samples: list[tuple[float, int]], in_flight: int) -> float:
    """The mean number in flight between the first and the last moment of being full, per limit."""
    full = [index for index, (_, count) in enumerate(samples) if count >= 0.98 * in_flight]
    if len(full) < 2:
        return 0.0
    between = [count for _, count in samples[full[0] : full[-1] + 1]]
    return sum(between) / len(between) / in_flight


async def own_seconds(name: str, url: str, count: int, in_flight: int) -> dict[str, float]:
    """Sends requests with one of CLIENTS."""
    async with CLIENTS[name](url) as ask:
        await send_all(ask, in_flight, in_flight)  # connections are made, code is warm
        wall, cpu = time.perf_counter(), time.process_time()
        await send_all(ask, count, in_flight)
        return {
            "answered": count,
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
        }


def peer_seconds(name: str, url: str, count: int, in_flight: int) -> dict[str, float]:
    """Sends requests with one of PEERS, in its own environment."""
    script = Path(__file__).with_name("peers.py")
    command = [str(PEERS_PYTHON), str(script), "chat", name, url, str(count), str(in_flight)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(name: str, *, latency: float, count: int, in_flight: int) -> dict[str, float]:
    """The figures of one client."""
    with TextServerProcess(latency=latency) as server:
        if name in PEERS:
            taken = peer_seconds(name, server.base_url, count, in_flight)
        else:
            taken = asyncio.run(own_seconds(name, server.base_url, count, in_flight))
        report = server.report()
    rate = taken["answered"] / taken["seconds"]
    figures = {
        "requests": taken["answered"],
        "requests_per_second": round(rate, 1),
        "cpu_ms": round(1e3 * taken["cpu_seconds"] / taken["answered"], 3),
    }
    if latency:
        figures["over_ideal"] = round(rate * latency / in_flight, 3)
        figures["in_flight_over_limit_on_plateau"] = round(plateau(report["samples"], in_flight), 3)
        figures["most_in_flight"] = report["most_in_flight"]
    return figures


def main() -> None:
    """Measures each client in turn and writes the figures."""
    names = [*CLIENTS, *(PEERS if PEERS_PYTHON.exists() else ())]
    if not PEERS_PYTHON.exists():
        print("The peers are not installed (make peers): they are left out.")
    slow = {f"{limit} in flight, {LATENCY:g} s": limit for limit in LIMITS}
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        "load_before": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in ("openai", "aiohttp", "tenacity")},
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
