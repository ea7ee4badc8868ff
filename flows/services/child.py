"""A server in a child process, which ends with the run and is started again when it ends before.

A child watches its standard input, whose other end the run holds: when the run ends, however
violently, the pipe closes and the child ends too. Nothing is left behind by a kill.
"""

import logging
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import IO

from corpus.errors import SympatheiaError

READY_SECONDS = 120.0
"""Longest wait for a child to answer: a cold disk makes its imports slow."""
STOP_SECONDS = 5.0
MOST_RESTARTS = 10
"""A child that ends as often has a reason that starting it again does not mend."""

# A child listens on this machine, where no proxy that the environment names has any business.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a child is: its name, as `python -m flows.services` takes it, and how it is handled.

    `health` is a path that answers when it is up, `environment` the one it is given, None for this
    process's own.
    """

    name: str
    health: str
    ready_seconds: float = READY_SECONDS
    stop_seconds: float = STOP_SECONDS
    environment: Mapping[str, str] | None = None


class Child:
    """A child that starts at once; a context manager.

    Args:
        kind: what it is.
        arguments: what it is given beside its port.
        log_file: takes what it prints; if it has a name, messages tell it.
    """

    def __init__(self, kind: Kind, arguments: Sequence[str], log_file: IO[bytes]) -> None:
        self._kind = kind
        self._arguments = arguments
        self._log_file = log_file
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self._ending = False
        self._changing = threading.Lock()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "flows.services", self._kind.name, str(self._port)]
        return subprocess.Popen(
            [*command, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=self._log_file,
            stderr=self._log_file,
            start_new_session=True,
            env=self._kind.environment,
        )

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        with self._changing:
            self._ending = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            # A little longer than the child gives what it has started itself.
            self._process.wait(self._kind.stop_seconds + 1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ready(self) -> str:
        """Its address, once it answers; from then on it is started again when it ends.

        Raises:
            SympatheiaError: it does not come up.
        """
        deadline = time.monotonic() + self._kind.ready_seconds
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with _DIRECT.open(self.address + self._kind.health, timeout=5):
                    threading.Thread(target=self._keep, daemon=True).start()
                    return self.address
            except (OSError, HTTPException):  # not up yet: refused, reset or still loading
                time.sleep(0.05)
        self._log_file.seek(0)
        said = self._log_file.read().decode(errors="replace").strip().splitlines()
        ended = self._process.poll() is not None
        name = self._log_file.name
        where = f" {name} has all it said." if isinstance(name, str) else ""
        late = f" within {self._kind.ready_seconds:.0f} s"
        raise SympatheiaError(
            f"The {self._kind.name} server of this run did not come up"
            f"{': ' + said[-1][:300] if said and ended else late}.{where} "
            "Mend that, or free some memory, and run the same command again."
        )

    def _keep(self) -> None:
        for _ in range(MOST_RESTARTS):
            code = self._process.wait()
            with self._changing:
                if self._ending:
                    return
                log.warning(
                    "the %s server of this run has ended (%s) and is started again",
                    self._kind.name,
                    signal.Signals(-code).name if code < 0 else f"exit code {code}",
                )
                self._process = self._start()
        self._process.wait()
        if not self._ending:
            log.warning("the %s server of this run has ended once more", self._kind.name)
