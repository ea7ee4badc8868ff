"""One chat request and its answer: what is sent, what identifies it, what is kept of the reply."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any
from weakref import WeakSet

import httpx2
import openai
import orjson

from corpus.servers.retry_and_failover import BadAnswer, Endpoints
from corpus.servers.server_errors import (
    beginning,
    error_in,
    one_line,
    read_json,
)
from schemas.recipe import Sampling

TRUNCATED = "truncated"
EMPTY = "empty"
UNFINISHED = "unfinished"
IN_FIELD = "answer_in_"
"""Begins the reason of an answer whose words are in a field where no answer belongs."""

_FINISHED = frozenset(
    {"stop", "stop_sequence", "end", "end_turn", "eos", "eos_token", "completed", "done"}
)
"""How servers say that a text came to its end, lower case. (Text Generation Inference says
`eos_token`, Anthropic's dialect `end_turn`.)"""
_CUT_SHORT = frozenset({"length", "max_tokens", "model_length"})
"""How they say that it ran into the limit of tokens."""

_FIELDS_OF_THOUGHTS = ("reasoning", "reasoning_content", "thinking", "refusal")
"""Where servers put what is no answer, beside it."""

FORM = "response_format"
"""The field that says in which form a server is to answer. An answer is known by the whole request,
with this field, whether or not the server that gave it takes it."""
_UNFIT = (400, 404, 415, 422, 500, 501)
_OF_THE_FORM = re.compile(r"response_format|json_schema|grammar|guided|structured", re.IGNORECASE)
_take_no_form: WeakSet[openai.AsyncOpenAI] = WeakSet()
"""Clients of servers that refused a request for it, and answered it without."""

log = logging.getLogger(__name__)

MOST_REASON_CHARS = 40
"""Of a server's word for how an answer ended: it becomes the name of a refusal."""

_MOST_TOKENS = 2**53
"""More is no count, and no JSON that others can read."""

_THINKING_BEGINS = re.compile(r"<think(?:ing)?>")
_THINKING_ENDS = re.compile(r"</think(?:ing)?>")
_HALF_A_CHARACTER = re.compile(r"[\ud800-\udfff]")


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
    return await send_body(pool, request.body(), request.max_tokens, what)


async def send_body(pool: Endpoints, body: bytes, max_tokens: int, what: str) -> ChatAnswer:
    """The answer to a request as it is sent, for so many tokens at most; see `complete`.

    Raises:
        EndpointsFailed: the servers failed for longer than the patience, or one refused.
    """

    async def send(client: openai.AsyncOpenAI) -> ChatAnswer:
        try:
            response = await _post(client, _unformed(body) if client in _take_no_form else body)
        except openai.APIStatusError as error:
            if client in _take_no_form or not _refuses_form(error, body):
                raise
            response = await _post(client, _unformed(body))
            log.warning("%s takes no response_format; it is asked without.", client.base_url)
            _take_no_form.add(client)
        answer = read_answer(response, max_tokens)
        pool.count_tokens(client, answer.completion_tokens)
        return answer

    return await pool.call(send, what)


async def _post(client: openai.AsyncOpenAI, body: bytes) -> httpx2.Response:
    # The raw call: building the client's own objects on both ways costs more than the rest.
    return await client.post(
        "/chat/completions",
        content=body,
        cast_to=httpx2.Response,
        options={"headers": {"Content-Type": "application/json"}},
    )


def _unformed(body: bytes) -> bytes:
    """A request without the form that its answer is to have."""
    fields = orjson.loads(body)
    fields.pop(FORM, None)
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def _refuses_form(error: openai.APIStatusError, body: bytes) -> bool:
    """Whether a server refuses a request for the form that it asks for, by what it says."""
    said = error.response.text
    return error.status_code in _UNFIT and FORM.encode() in body and bool(_OF_THE_FORM.search(said))


def read_answer(response: httpx2.Response, max_tokens: int) -> ChatAnswer:
    """The answer in a response to a request for so many tokens at most.

    Raises:
        BadAnswer: it is not a chat completion.
        ErrorInBody: it is an error, for all that its status says.
    """
    reply = read_json(response.content)
    if error := error_in(reply, response):
        raise error
    try:
        choice, usage = reply["choices"][0], reply.get("usage")
        message = choice["message"]
        content = _content(message.get("content"))
        counts = usage if isinstance(usage, dict) else {}
        completion_tokens = _count(counts.get("completion_tokens"))
        finish_reason = _finish_reason(
            choice.get("finish_reason"), cut_short=completion_tokens >= max_tokens
        )
    except (AttributeError, IndexError, KeyError, TypeError):
        start = beginning(response.content)
        raise BadAnswer(f"the answer is not a chat completion: {start}") from None
    text = without_thinking(content)
    if finish_reason == "stop" and not text:
        finish_reason = _misplaced(message) or finish_reason
    model = reply.get("model")
    return ChatAnswer(
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=completion_tokens,
        model=_whole(model) if isinstance(model, str) else "",
    )


def _content(content: object) -> str:
    """A message's content, which may come in parts; of those the texts, not the thoughts.

    Raises:
        AttributeError, KeyError, TypeError: it is none.
    """
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part["text"] for part in content if part["type"] in ("text", "output_text")]
        content = "".join(parts)
    if not isinstance(content, str):
        raise TypeError
    return _whole(content)


def _whole(text: str) -> str:
    """A text with a replacement character for each half of one, which JSON can hold."""
    return _HALF_A_CHARACTER.sub("\ufffd", text)


def _count(value: object) -> int:
    """A number of tokens, which some servers send as text; 0 for what is no number."""
    try:
        count = int(value) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0
    return count if 0 < count < _MOST_TOKENS else 0


def _finish_reason(said: object, *, cut_short: bool) -> str:
    """How an answer ended: "stop", "length", or the server's word for what else went wrong.

    A server that says nothing is believed to have finished, unless it used all tokens it had.
    """
    if said is None or said == "":
        return "length" if cut_short else "stop"
    if not isinstance(said, str):
        return UNFINISHED
    word = one_line(said)[:MOST_REASON_CHARS].strip()
    if word.lower() in _FINISHED:
        return "stop"
    return "length" if word.lower() in _CUT_SHORT else word or UNFINISHED


def _misplaced(message: Mapping[str, object]) -> str | None:
    """The reason of an answer that says nothing but in a field for thoughts, if this is one."""
    fields = (name for name in _FIELDS_OF_THOUGHTS if message.get(name))
    return next((IN_FIELD + name for name in fields), None)


def without_thinking(content: str) -> str:
    """The content after the thinking; nothing when the thinking did not end.

    Some chat templates open the thinking in the prompt, so its end may be all there is to see. An
    end behind everything is one that the model added without having thought.
    (Thinking that a server parts itself is in a field of its own, which is not read at all.)
    """
    while content.rstrip().endswith(("</think>", "</thinking>")):
        content = content[: content.rindex("</")]
    answer = _THINKING_ENDS.split(content)[-1]
    return "" if _THINKING_BEGINS.search(answer) else answer.strip()


def remedy(reason: str, section: str) -> str | None:
    """What to do about answers that have a `problem`, as an order; None for one that is not known.

    Args:
        reason: the problem.
        section: of the recipe, that says how such answers are sampled.
    """
    if reason.startswith(IN_FIELD):
        return (
            f"They say nothing but in the field '{reason.removeprefix(IN_FIELD)}' of the message, "
            "where no answer belongs: start the server with the reasoning parser of its model, or "
            f"without one, or set {section}.thinking = false"
        )
    return {
        TRUNCATED: f"They run into the limit of tokens: raise {section}.max_tokens, or set "
        f"{section}.thinking = false",
        EMPTY: "See that the server's reasoning parser is that of its model, and that its chat "
        f"template heeds {section}.thinking",
    }.get(reason)


def problem(answer: ChatAnswer) -> str | None:
    """Why an answer cannot be used, whatever it says; None when it can."""
    if answer.finish_reason == "length":
        return TRUNCATED
    if answer.finish_reason != "stop":
        return answer.finish_reason
    return None if answer.text else EMPTY
