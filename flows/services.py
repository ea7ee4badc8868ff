"""Servers that a run starts for itself, each a child process that ends with the run.

A child watches its standard input, whose other end the run holds: when the run ends, however
violently, the pipe closes and the child ends too. Nothing is left behind by a kill.
"""

import asyncio
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import IO

from corpus.embedding.minilm import converted
from corpus.errors import SympatheiaError
from corpus.run.cache_folder import cache_folder
from corpus.store.files import write_whole
from corpus.voices import embedded_text_server
from schemas.recipe import Vllm

READY_SECONDS = 120.0
"""Longest wait for a child to answer: a cold disk makes its imports slow."""

STOP_SECONDS = 5.0
VLLM_STOP_SECONDS = 30.0
"""Its workers let go of their GPUs in a few seconds; who has not by then is killed."""

# Prefect in a child or in this process: silent, offline, and nothing sent to anyone.
PREFECT_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}


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
            started.append(stack.enter_context(_child("text", ["1"], "/v1/models", log)))
        yield tuple(f"{address()}/v1" for address in started)


@contextmanager
def vllm_server(model: str, vllm: Vllm, log: Path) -> Iterator[str]:
    """A vLLM of the run's own; gives its OpenAI-style base address.

    Args:
        model: what to serve, under its own name.
        vllm: the interpreter that has vLLM, further arguments, and how long it may take to load.
        log: the file that takes what vLLM prints.

    Raises:
        SympatheiaError: it does not come up.
    """
    arguments = [vllm.python, "--model", model, *vllm.arguments]
    with (
        log.open("w+b") as file,
        _child("vllm", arguments, "/v1/models", file, vllm.ready_seconds, VLLM_STOP_SECONDS) as up,
    ):
        yield f"{up()}/v1"


@contextmanager
def prefect_api() -> Iterator[None]:
    """Prefect's API for this process: the server the user has set up, or one of the run's own.

    While the own server comes up, this process imports Prefect. The server keeps its data in a
    temporary folder: what a run must remember is in its run folder.

    Raises:
        SympatheiaError: the own server does not come up.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in PREFECT_QUIET.items()})
    if _user_has_prefect():
        yield
        return
    home = tempfile.mkdtemp(prefix="sympatheia-prefect-")  # the child removes it
    os.environ["PREFECT_HOME"] = home
    with (
        tempfile.TemporaryFile() as log,
        _child("prefect", [home], "/api/health", log) as address,
    ):
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: f"{address()}/api"}):
            yield


def _user_has_prefect() -> bool:
    if os.environ.get("PREFECT_API_URL"):
        return True
    home = Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect"))
    profiles = home / "profiles.toml"
    return profiles.is_file() and "PREFECT_API_URL" in profiles.read_text(encoding="utf-8")


@contextmanager
def _child(
    kind: str,
    arguments: list[str],
    health: str,
    log: IO[bytes],
    ready_seconds: float = READY_SECONDS,
    stop_seconds: float = STOP_SECONDS,
) -> Iterator[Callable[[], str]]:
    """Starts a child at once; calling what this gives waits for it and returns its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "flows.services", kind, str(port), *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield lambda: _ready(process, kind, address, health, log, ready_seconds)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            # A little longer than the child gives what it has started itself.
            process.wait(stop_seconds + 1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(
    process: subprocess.Popen[bytes],
    kind: str,
    address: str,
    health: str,
    log: IO[bytes],
    ready_seconds: float,
) -> str:
    deadline = time.monotonic() + ready_seconds
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address + health, timeout=5):
                return address
        except OSError:  # not up yet: refused, reset or still loading
            time.sleep(0.05)
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines()
    ended = process.poll() is not None
    where = f" {log.name} has all it said." if isinstance(log.name, str) else ""
    raise SympatheiaError(
        f"The {kind} server of this run did not come up"
        f"{': ' + said[-1][:300] if said and ended else f' within {ready_seconds:.0f} s'}.{where} "
        "Mend that, or free some memory, and run the same command again."
    )


# What follows runs in the child.


def _end_with_parent(home: Path | None) -> None:
    """Ends this process the moment its parent does; nothing in it is worth a farewell."""

    def wait() -> None:
        sys.stdin.buffer.read()
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _supervise(command: list[str]) -> None:
    """Runs a server that knows nothing of its parent, and ends it and its workers with us."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def end_group() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(VLLM_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def wait_for_parent() -> None:
        sys.stdin.buffer.read()
        end_group()
        os._exit(0)

    threading.Thread(target=wait_for_parent, daemon=True).start()
    process.wait()
    end_group()
    os._exit(1)  # the thread above still reads, which an orderly end would complain of


def _serve_prefect(port: int, home: Path) -> None:
    os.environ.update(PREFECT_QUIET | {"PREFECT_HOME": str(home), "PREFECT__SERVER_EPHEMERAL": "1"})
    if blank_database().exists():
        shutil.copyfile(blank_database(), home / "prefect.db")
    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(create_app(ephemeral=True), host="127.0.0.1", port=port, log_level="error")


def blank_database() -> Path:
    """Where an empty, migrated Prefect database is kept: making one takes ten seconds, once."""
    return cache_folder() / f"prefect-{metadata.version('prefect')}.db"


def prepare() -> None:
    """Makes what is slow to make and always the same, if it is not there; part of setting up."""
    converted()
    if blank_database().exists():
        return
    with tempfile.TemporaryDirectory(prefix="sympatheia-prefect-") as home:
        os.environ.update(PREFECT_QUIET | {"PREFECT_HOME": home})
        from prefect.server.database import provide_database_interface

        asyncio.run(provide_database_interface().create_db())
        with closing(sqlite3.connect(Path(home) / "prefect.db")) as made:
            made.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        write_whole(blank_database(), (Path(home) / "prefect.db").read_bytes())


def main(arguments: list[str]) -> None:
    """The child's body: one of the cases below."""
    match arguments:
        case ["prepare"]:
            prepare()
        case ["text", port, threads]:
            _end_with_parent(None)
            embedded_text_server.serve(int(port), int(threads))
        case ["vllm", port, python, *more]:
            module = [python, "-m", "vllm.entrypoints.openai.api_server"]
            _supervise([*module, "--host", "127.0.0.1", "--port", port, *more])
        case ["prefect", port, home]:
            _end_with_parent(Path(home))
            _serve_prefect(int(port), Path(home))
        case _:
            raise SystemExit(f"unknown service: {arguments}")


if __name__ == "__main__":
    main(sys.argv[1:])
