"""The text servers of a run that names none: the embedded ones, or a vLLM of its own."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from corpus.servers.proxies import given
from corpus.voices.vllm_environment import vllm_python
from flows.services.child import Child, Kind
from schemas.recipe import Vllm

VLLM_STOP_SECONDS = 30.0
"""Its workers let go of their GPUs in a few seconds; who has not by then is killed."""

REMEDY = (
    "They are this run's own, and were started again whenever they ended: free some memory, or set "
    "llm.concurrency to fewer,"
)
VLLM_REMEDY = (
    "It is this run's own vLLM, which was started again whenever it ended: see what {log} says, "
    "mend that"
)


@contextmanager
def text_servers(count: int) -> Iterator[tuple[str, ...]]:
    """So many embedded text servers; gives their OpenAI-style base addresses.

    Each computes on one thread and is to be asked one thing at a time: then its answer depends on
    the request alone, and two of them on two cores do more than one on both.

    Raises:
        SympatheiaError: one does not come up.
    """
    with ExitStack() as stack:
        started = []
        for _ in range(count):
            log = stack.enter_context(tempfile.TemporaryFile())
            child = Child(Kind("text", "/v1/models"), ["1"], log)
            started.append(stack.enter_context(child))
        yield tuple(f"{child.ready()}/v1" for child in started)


@contextmanager
def vllm_server(model: str, vllm: Vllm, log: Path) -> Iterator[str]:
    """A vLLM of the run's own; gives its OpenAI-style base address.

    Args:
        model: what to serve, under its own name.
        vllm: the interpreter that has vLLM, further arguments, and how long it may take to load.
        log: the file that takes what vLLM prints.

    Raises:
        InvalidInput: no Python has vLLM.
        SympatheiaError: it does not come up.
    """
    arguments = [vllm_python(vllm.python), "--model", model, *vllm.arguments]
    kind = Kind("vllm", "/v1/models", vllm.ready_seconds, VLLM_STOP_SECONDS, given())
    with log.open("w+b") as file, Child(kind, arguments, file) as child:
        yield f"{child.ready()}/v1"
