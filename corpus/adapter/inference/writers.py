"""Who writes responses: the model on this machine, or servers that have it."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import httpx2
import openai
import orjson

from corpus.adapter.inference.language_model import LanguageModel, Sampling
from corpus.errors import InvalidInput, root_cause
from corpus.servers.load_balancing import Failure
from corpus.servers.model_lists import read_models
from corpus.servers.retry_and_failover import BadAnswer, Endpoints
from corpus.servers.server_errors import beginning, error_in, read_json

IN_FLIGHT = 64
"""Requests at each server: its batches are then full, and what a kill costs is little."""


@dataclass(frozen=True, slots=True)
class Request:
    """A response to be written.

    Attributes:
        name: of the item, for messages.
        prompt: what the model is given.
        seed: of what is drawn.
    """

    name: str
    prompt: str
    seed: int

    def digest(self, model: str, sampling: Sampling) -> str:
        """What the response is kept under, given the digest of base and adapter."""
        drawn = f"{sampling.temperature}/{sampling.top_p}/{sampling.max_new_tokens}/{self.seed}"
        return sha256(f"{model} {drawn} {self.prompt}".encode()).hexdigest()


Put = Callable[[Request, list[int]], None]
Has = Callable[[Request], bool]


def write_here(
    model: LanguageModel, requests: Sequence[Request], sampling: Sampling, size: int, has: Has
) -> Iterator[tuple[Request, list[int]]]:
    """Writes on this machine, so many at a time.

    Who is written beside whom follows from the order alone, and a batch that lacks one is written
    whole: a matrix product of other company may differ in its last bit, and a token with it.
    """
    for start in range(0, len(requests), size):
        batch = requests[start : start + size]
        if all(map(has, batch)):
            continue
        prompts, seeds = [one.prompt for one in batch], [one.seed for one in batch]
        written = model.continued(prompts, seeds, sampling)
        yield from ((one, ids) for one, ids in zip(batch, written, strict=True) if not has(one))


class ServedModel:
    """Servers of vLLM that have the base with the adapter, or the two merged.

    Args:
        pool: The servers, up.
        name: What they call it.
        encode: From a prompt to its token ids.
        stops: Ids at which a response has ended.
    """

    def __init__(
        self,
        pool: Endpoints,
        name: str,
        encode: Callable[[str], list[int]],
        stops: Sequence[int],
    ) -> None:
        self._pool, self._name = pool, name
        self._encode, self._stops = encode, list(stops)

    async def write(self, requests: Sequence[Request], sampling: Sampling, put: Put) -> None:
        """Has all of them written, and puts each when it comes.

        Raises:
            EndpointsFailed: the servers failed for longer than the patience, or one refused.
        """
        waiting = iter(requests)

        async def work() -> None:
            for request in waiting:
                put(request, await self._written(request, sampling))

        at_once = min(len(requests), IN_FLIGHT * len(self._pool.snapshot()))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise root_cause(errors) from None

    async def _written(self, request: Request, sampling: Sampling) -> list[int]:
        # Every field is said: vLLM takes what is not from the checkpoint's own settings.
        body = orjson.dumps(
            {
                "model": self._name,
                "prompt": self._encode(request.prompt),
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": -1,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
                "max_tokens": sampling.max_new_tokens,
                "seed": request.seed,
                "stop_token_ids": self._stops,
                "return_token_ids": True,
                "detokenize": False,
            }
        )

        async def send(client: openai.AsyncOpenAI) -> list[int]:
            answer = await client.post(
                "/completions",
                content=body,
                cast_to=httpx2.Response,
                options={"headers": {"Content-Type": "application/json"}},
            )
            ids = self._read(answer)
            self._pool.count_tokens(client, len(ids))
            return ids

        return await self._pool.call(send, request.name)

    def _read(self, answer: httpx2.Response) -> list[int]:
        """The new token ids of a completion, its stop among them.

        Raises:
            BadAnswer: it has none.
            ErrorInBody: it is an error, for all that its status says.
        """
        reply = read_json(answer.content)
        if error := error_in(reply, answer):
            raise error
        try:
            choice = reply["choices"][0]
            ids = [int(token) for token in choice["token_ids"]]
            if choice.get("finish_reason") == "stop" and (not ids or ids[-1] not in self._stops):
                ids.append(int(choice.get("stop_reason") or self._stops[0]))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise BadAnswer(
                "the answer has no token ids, which vLLM gives since 0.10.2 if asked with "
                f"return_token_ids: {beginning(answer.content)}"
            ) from None
        return ids


async def served_name(pool: Endpoints, wanted: str | None) -> str:
    """What the servers call the model: the name wanted, or the only one they have.

    Raises:
        InvalidInput: They do not have it, or several and none was named.
    """
    for state, answer in zip(pool.snapshot(), await pool.models(), strict=True):
        models = read_models(state.url, answer)
        if isinstance(answer, Failure) or not models.contexts:
            continue
        names = list(models.contexts)
        if wanted is None and len(names) == 1:
            return names[0]
        if wanted is None or models.serves(wanted) is False:
            raise InvalidInput(
                f"{state.url} serves {', '.join(names)}. Name the one that is to answer with "
                "--served-model: with an adapter the name of its LoRA module."
            )
        return wanted
    if wanted is None:
        raise InvalidInput("The servers do not say what they serve. Name it with --served-model.")
    return wanted
