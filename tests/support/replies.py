"""What a server of chat completions may answer: good texts, bad texts, and failures.

A text is a pure function of the request's messages and seed, as is whether it is bad; whether the
transport fails depends on how many requests came before.
"""

import asyncio
import json
import random
import re
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any

import orjson
from aiohttp import web

from tests.support import sentences

Body = dict[str, Any]
Reply = web.StreamResponse | Callable[[web.Request], Awaitable[web.StreamResponse]]
Behave = Callable[[Body, int], Reply | None]
"""Given a request's body and its number from 0: how to misbehave, or None for a good answer."""

ANY_TOPIC = "text.rules.off_topic=false"
"""The setting of a run whose texts come from here, which are good and about anything but what is
asked."""

_QUOTED = re.compile(r'["\u201c][^"\u201c\u201d]{8,}["\u201d]')


def last_user_message(body: Body) -> str:
    return next((m["content"] for m in reversed(body["messages"]) if m["role"] == "user"), "")


def kind_of(body: Body) -> str:
    """Whether a prompt asks for a "query", for a "response" or for the "annotation" of both.

    A prompt that quotes something asks for a response to it. One that shows examples asks for a
    query if it ends in a topic, else for a response to what it ends in. The next turn of a dialogue
    is asked for in so many words.
    """
    last = last_user_message(body)
    if '"scenario":' in last:
        return "annotation"
    if any(message["role"] == "assistant" for message in body["messages"]):
        return "query" if last.startswith("Topic:") else "response"
    if "Write what the person says next" in last:
        return "query"
    return "response" if _QUOTED.search(last) else "query"


def seed_of(body: Body) -> int:
    asked = orjson.dumps([body["messages"], body.get("seed")])
    return int.from_bytes(blake2b(asked, digest_size=8).digest(), "big")


def good_text(body: Body, kind: str) -> str:
    if kind == "annotation":
        names = ("scenario", "cause", "goal")
        return json.dumps(
            {name: sentences.query(seed_of(body) + n) for n, name in enumerate(names)}
        )
    if kind == "query":
        return sentences.query(seed_of(body))
    prompt = " ".join(m["content"] for m in body["messages"] if m["role"] != "assistant")
    return sentences.response(seed_of(body), prompt)


# What a server may answer


def completion(
    text: str | None, *, finish_reason: str | None = "stop", model: str = "fake", **message: Any
) -> web.Response:
    """A chat completion; further fields, such as `reasoning`, go into its message."""
    tokens = len(text.split()) if text else 0
    answer = {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens},
    }
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


def status(code: int, message: str = "out of order", retry_after: float | None = None) -> Reply:
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    body = orjson.dumps({"error": {"message": message, "type": "test", "code": code}})
    return web.Response(status=code, body=body, content_type="application/json", headers=headers)


def redirect(code: int, target: str) -> Reply:
    return web.Response(status=code, headers={"Location": target})


def error_as_200(message: str, **fields: Any) -> Reply:
    return web.json_response({"error": {"message": message, **fields}})


def truncated_json() -> Reply:
    whole = completion("This answer is cut in two.").body
    assert isinstance(whole, bytes)
    return web.Response(body=whole[: len(whole) // 2], content_type="application/json")


async def hang(request: web.Request) -> web.StreamResponse:
    """Never answers."""
    await asyncio.sleep(3600)
    return web.Response()


async def close_connection(request: web.Request) -> web.StreamResponse:
    """Hangs up without a word."""
    if request.transport:
        request.transport.abort()
    return web.Response()


async def break_off(request: web.Request) -> web.StreamResponse:
    """Promises more than it sends."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = 1000
    await response.prepare(request)
    await response.write(b'{"choices": [')
    if request.transport:
        request.transport.close()
    return response


TRANSPORT: dict[str, Callable[[], Reply]] = {
    "429": lambda: status(429, "too many requests", retry_after=1),
    "500": lambda: status(500),
    "503": lambda: status(503, "loading the model"),
    "hang": lambda: hang,
    "close": lambda: close_connection,
    "break_off": lambda: break_off,
    "truncated_json": truncated_json,
    "no_choices": lambda: web.json_response({"error": {"message": "internal"}}),
}
"""By name, how a server fails to answer."""

CONTENT: dict[str, Callable[[str], Reply]] = {
    "null": lambda text: completion(None),
    "empty": lambda text: completion(""),
    "endless_thinking": lambda text: completion(
        "<think>Let me see. " + text + " Wait. " * 40, finish_reason="length"
    ),
    "length": lambda text: completion(text[: len(text) // 2], finish_reason="length"),
    "content_filter": lambda text: completion(text, finish_reason="content_filter"),
    "meta": lambda text: completion("Sure! Here is a query: " + text),
    "label": lambda text: completion("Response: " + text),
    "german": lambda text: completion(
        "Das ist eine gute Frage, und ich helfe dir gerne dabei, den Garten in Ordnung zu bringen."
    ),
    "chinese": lambda text: completion(text + " \u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002"),
    "markdown": lambda text: completion(f"**{text}**\n\n- first\n- second\n\n# More"),
    "emoji": lambda text: completion(text + " \U0001f600"),
    "stage_direction": lambda text: completion("*sighs softly* " + text),
    "short": lambda text: completion("Yes, please."),
    "loop": lambda text: completion("and then we walk " * 12 + "."),
}
"""By name, how an answer is bad; each is given the good one."""

THINKING: dict[str, Callable[[str], Reply]] = {
    "reasoning": lambda text: completion(text, reasoning="The user asks about SECRET."),
    "reasoning_content": lambda text: completion(text, reasoning_content="I think SECRET."),
    "think_text": lambda text: completion(f"<think>\nI think SECRET.\n</think>\n\n{text}"),
}
"""By name, how a good answer may carry its thinking along."""


def sometimes(names: list[str], share: float) -> Behave:
    """Misbehaves for a share of the requests, in all the ways named."""

    def behave(body: Body, n: int) -> Reply | None:
        by_content = random.Random(seed_of(body))
        by_number = random.Random(n)
        for name in names:
            if name in TRANSPORT:
                if by_number.random() < share / len(names):
                    return TRANSPORT[name]()
            elif by_content.random() < share / len(names):
                return (CONTENT | THINKING)[name](good_text(body, kind_of(body)))
        return None

    return behave


def first(count: int, reply: Callable[[], Reply]) -> Behave:
    """Misbehaves for the first requests, then never again."""
    return lambda body, n: reply() if n < count else None
