"""What a server says it serves, as its list of models has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import httpx2
import orjson

from corpus.servers.load_balancing import Failure

_CONTEXT_FIELDS = ("max_model_len", "context_length", "context_window")
"""Where lists of models have the most tokens of prompt and answer together: vLLM and SGLang have
it in the first, hosted services in one of the others."""

_TAKES_ANY = "llamacpp"
"""The owner that llama.cpp gives its one model, which it serves whatever name is asked for."""


@dataclass(frozen=True, slots=True)
class ModelList:
    """The models of one server.

    Attributes:
        url: the server's base address.
        trouble: why there is no list, if the server did not answer or refused; else empty.
        contexts: each model with its context length in tokens, None where that is not said. A
            server may answer, and have no list.
        takes_any: whether it serves its model under any name.
    """

    url: str
    trouble: str = ""
    contexts: Mapping[str, int | None] | None = None
    takes_any: bool = False

    def serves(self, model: str) -> bool | None:
        """Whether a model is in the list; None where there is none to look at."""
        if not self.contexts:
            return None
        # Gateways list patterns, and Ollama's names have a tag that may be left out.
        return self.takes_any or any(
            model in (name, name.removesuffix(":latest")) or fnmatchcase(model, name)
            for name in self.contexts
        )

    def context(self, model: str) -> int | None:
        """The context length of a model, None where it is not known."""
        found = self.contexts or {}
        return next(iter(found.values()), None) if self.takes_any else found.get(model)


def read_models(url: str, answer: httpx2.Response | Failure) -> ModelList:
    """The list in a server's answer, whatever that is."""
    if isinstance(answer, Failure):
        return ModelList(url, trouble=str(answer))
    if answer.status_code in (401, 403) or answer.status_code >= 500:
        return ModelList(url, trouble=f"HTTP {answer.status_code}")
    try:
        listed = orjson.loads(answer.content)["data"]
        models: list[dict[str, Any]] = [dict(model) for model in listed]
        contexts = {str(model["id"]): _context(model) for model in models}
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return ModelList(url)
    return ModelList(url, "", contexts, any(m.get("owned_by") == _TAKES_ANY for m in models))


def _context(model: Mapping[str, Any]) -> int | None:
    values = (model.get(name) for name in _CONTEXT_FIELDS)
    return next((value for value in values if isinstance(value, int) and value > 0), None)
