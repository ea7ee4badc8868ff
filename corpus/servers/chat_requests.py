"""One chat request and its answer: what is sent, what identifies it, what is kept of the reply."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

import httpx2
import openai
import orjson

from corpus.servers.endpoint_pool import BadAnswer, Endpoints
from schemas.recipe import Sampling

TRUNCATED = "truncated"
EMPTY = "empty"

_THINKING_ENDS = "</think>"
_THINKING_BEGINS = "<think>"


@dataclass(frozen=True)
class ChatRequest:
    """A request for one completion: everything that shapes the answer, and nothing else."""

    model: str
    messages: Sequence[Mapping[str, str]]
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    thinking: bool
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def sampled(
        cls, model: str, messages: Sequence[Mapping[str, str]], sampling: Sampling, seed: int
    ) -> "ChatRequest":
        """A request with the sampling of a recipe."""
        return cls(
            model=model,
            messages=messages,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=seed,
            thinking=sampling.thinking,
            extra=sampling.extra,
        )

    def body(self) -> bytes:
        """What is sent, in one canonical form."""
        fields = {
            **self.extra,
            "model": self.model,
            "messages": self.messages,
            "temperature": float(self.temperature),
            "top_p": float(self.top_p),
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "chat_template_kwargs": {"enable_thinking": self.thinking},
        }
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)

    def digest(self) -> str:
        """Identifies the request, and so its answer; the same wherever it is sent."""
        return sha256(self.body()).hexdigest()


@dataclass(frozen=True)
class ChatAnswer:
    """What came back; `text` is without any thinking, `model` as the server names it."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str

    def to_dict(self) -> dict[str, Any]:
        """The answer as it is stored."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "ChatAnswer":
        """The answer that was stored."""
        return cls(**{name: record[name] for name in cls.__annotations__})


async def complete(pool: Endpoints, request: ChatRequest, what: str) -> ChatAnswer:
    """The answer to a request, from whichever server of the pool gives one.

    Raises:
        EndpointsFailed: the servers failed for longer than the patience, or one refused.
    """
    body = request.body()

    async def send(client: openai.AsyncOpenAI) -> ChatAnswer:
        # The raw call: building the client's own objects on both ways costs more than the rest.
        response = await client.post(
            "/chat/completions",
            content=body,
            cast_to=httpx2.Response,
            options={"headers": {"Content-Type": "application/json"}},
        )
        answer = read_answer(response.content)
        pool.count_tokens(client, answer.completion_tokens)
        return answer

    return await pool.call(send, what)


def read_answer(content: bytes) -> ChatAnswer:
    """The answer in the body of a response.

    Raises:
        BadAnswer: it is not a chat completion.
        orjson.JSONDecodeError: it is not even JSON.
    """
    reply = orjson.loads(content)
    try:
        choice = reply["choices"][0]
        text = choice["message"].get("content") or ""
        usage = reply.get("usage") or {}
        answer = ChatAnswer(
            text=without_thinking(text),
            finish_reason=choice.get("finish_reason") or "unfinished",
            prompt_tokens=usage.get("prompt_tokens") or 0,
            completion_tokens=usage.get("completion_tokens") or 0,
            model=reply.get("model") or "",
        )
    except (AttributeError, IndexError, KeyError, TypeError):
        start = content[:150].decode(errors="replace")
        raise BadAnswer(f"the answer is not a chat completion: {start}") from None
    return answer


def without_thinking(content: str) -> str:
    """The content after the thinking; nothing when the thinking did not end.

    Some chat templates open the thinking in the prompt, so its end may be all there is to see.
    (Thinking that a server parts itself is in a field of its own, which is not read at all.)
    """
    text = content.rpartition(_THINKING_ENDS)[2]
    return "" if _THINKING_BEGINS in text else text.strip()


def problem(answer: ChatAnswer) -> str | None:
    """Why an answer cannot be used, whatever it says; None when it can."""
    if answer.finish_reason == "length":
        return TRUNCATED
    if answer.finish_reason != "stop":
        return answer.finish_reason
    return None if answer.text else EMPTY
