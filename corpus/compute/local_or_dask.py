"""Where the pipeline's own computing is done: processes of this machine, or a Dask cluster.

What is computed are plain functions of plain values: a text and a point to a clip, a clip to its
words. They touch no file of the run and remember nothing but their models. Whoever calls one looks
into the store before and puts the answer there afterwards. So a worker may come, go or die at any
time: what it had not answered is computed elsewhere, to the same result, and nothing else is lost.
"""

import asyncio
import concurrent.futures
import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, TypeVarTuple
from uuid import uuid4

from corpus.compute.worker_processes import worker_processes
from corpus.errors import InvalidInput, SympatheiaError
from corpus.run.up_to_date import code_digest

CONNECT_SECONDS = 30.0
PATIENCE_SECONDS = 300.0
"""How long a cluster may be without a worker, as long as a run waits for its text servers."""
LOOK_EVERY_SECONDS = 5.0
CLOSE_SECONDS = 5.0
CALLS_PER_THREAD = 2
"""Calls under way for each thread of a cluster: one that is computed, one on its way."""

Ts = TypeVarTuple("Ts")
T = TypeVar("T")

log = logging.getLogger(__name__)


class Workers:
    """Computes functions elsewhere; a context manager, safe for several threads.

    Local processes start with the first call, and so does the connection to a cluster.

    Args:
        what: What they do, as in "the process that ... died".
        count: How many local processes.
        dask: The address of a Dask scheduler, if its workers are to do it instead.
        begin: What a local process calls first; it must not fail.
    """

    def __init__(
        self, what: str, count: int, dask: str = "", begin: Callable[[], object] | None = None
    ) -> None:
        self._what = what
        self._count = count
        self._dask = dask
        self._begin = begin
        self._pool: Executor | None = None
        self._cluster: _Cluster | None = None
        self._refusal: SympatheiaError | None = None
        self._opening = threading.Lock()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of what is under way; local processes end."""
        with self._opening:  # whoever still comes is told so, and opens nothing
            self._refusal = self._refusal or self._lost()
        if self._cluster is not None:
            self._cluster.close()
        elif self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def at_once(self) -> int:
        """How many calls under way keep all of them busy; of a cluster, as it is now.

        Raises:
            InvalidInput, SympatheiaError: the cluster cannot be reached, or has no workers.
        """
        self._opened()
        if self._cluster is None:
            return self._count
        if not self._cluster.alive:
            raise self._lost()
        return max(self._count, self._cluster.threads() * CALLS_PER_THREAD)

    async def call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """What a function returns, computed by a worker.

        Raises:
            InvalidInput, SympatheiaError: the worker died, the cluster cannot be reached or has
                other code than this. Whatever the function raises is raised as well.
        """
        if self._pool is None:
            await asyncio.to_thread(self._opened)
        future = self.submit(function, *args)
        task = asyncio.current_task()
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if task is not None and task.cancelling():
                raise
            raise self._lost() from None  # the cluster let go of it, not we
        except Exception as error:
            if (said := self._said(error)) is error:
                raise
            raise said from error

    def wait_for(self, future: "Future[T]") -> T:
        """What a call of `submit` returns or raises, as with `call`."""
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise self._lost() from None
        except Exception as error:
            if (said := self._said(error)) is error:
                raise
            raise said from error

    def submit(self, function: Callable[[*Ts], T], *args: *Ts) -> "Future[T]":
        """Begins a call; `wait_for` gives what comes of it.

        Raises:
            InvalidInput, SympatheiaError: the cluster cannot be reached, or has no workers.
        """
        pool = self._opened()
        try:
            if self._cluster is None:
                return pool.submit(function, *args)
            if not self._cluster.alive:
                raise self._lost()
            # Named, so that the cluster's own pages show what is computed.
            key = f"{function.__name__}-{uuid4().hex}"
            call: Any = partial(_with_this_code, code_digest(), function)
            future: Future[T] = pool.submit(call, *args, key=key)
            self._cluster.counts(future)
            return future
        except BrokenProcessPool as error:
            raise self._said(error) from None

    def _opened(self) -> Executor:
        with self._opening:
            if self._refusal is not None:
                raise self._refusal  # of the first who tried: the others need not wait as long
            if self._pool is None:
                self._pool = self._open()
            return self._pool

    def _open(self) -> Executor:
        if not self._dask:
            return worker_processes(self._count, self._begin)
        try:
            self._cluster = _Cluster(self._dask)
        except SympatheiaError as error:
            self._refusal = error
            raise
        executor: Executor = self._cluster.client.get_executor(pure=False)
        return executor

    def _lost(self) -> SympatheiaError:
        if not self._dask:
            return SympatheiaError(f"What {self._what} has ended; everything finished is kept.")
        why = self._cluster.trouble if self._cluster else ""
        return SympatheiaError(
            f"{why or f'The Dask scheduler at {self._dask} is gone'}. Run the same command again "
            "when it is back; everything finished is kept."
        )

    def _said(self, error: Exception) -> Exception:
        """An error of a call as the user is to read it."""
        if isinstance(error, BrokenProcessPool):
            return SympatheiaError(
                f"A process that {self._what} died, perhaps for want of memory. Free some and run "
                "the same command again; everything finished is kept."
            )
        if self._cluster is None:
            return error
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            return SympatheiaError(
                f"Several Dask workers died while they did the same work, one that {self._what}, "
                "perhaps for want of memory. Look at their logs, give them more, and run the same "
                "command again; everything finished is kept."
            )
        if isinstance(error, ImportError):
            return InvalidInput(
                f"compute.dask: the cluster at {self._dask} lacks a package ({error}). Start its "
                "scheduler and workers in this environment, or one with the same packages."
            )
        return error


class _Cluster:
    """A connection to a Dask cluster; it ends when calls wait too long with no worker there."""

    def __init__(self, address: str) -> None:
        self.trouble = ""
        self._address = address
        self._waiting = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.client = self._connect()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def _connect(self) -> Any:  # noqa: ANN401 (the library is not typed)
        # Half a second to import, and only where a recipe asks for it.
        from distributed import Client

        client: Any = None
        try:
            client = Client(  # type: ignore[no-untyped-call]
                self._address, timeout=CONNECT_SECONDS, set_as_default=False
            )
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:
            # The last three come of an address of a kind that is not set up here, as tls:// is.
            if client is not None:
                _close(client)
                if isinstance(error, TimeoutError):
                    raise SympatheiaError(
                        f"compute.dask: the scheduler at {self._address} has no workers. Start "
                        f"some with 'dask worker {self._address} --nthreads 1 --nworkers auto'; "
                        "everything finished is kept."
                    ) from None
            raise SympatheiaError(
                f"compute.dask: no Dask scheduler answers at {self._address} "
                f"({' '.join(str(error).split())[:200]}). Start it with 'dask scheduler', or "
                "correct the address; everything finished is kept."
            ) from error
        return client

    @property
    def alive(self) -> bool:
        """Whether calls can be made. A scheduler that was away has forgotten those before."""
        return bool(self.client.status == "running")

    def threads(self) -> int:
        """How many calls the cluster computes at a time, at least 1."""
        return max(1, sum(int(count) for count in self.client.nthreads().values()))

    def counts(self, future: "Future[T]") -> None:
        """Takes note of a call, for as long as it has no answer."""
        with self._lock:
            self._waiting += 1
        future.add_done_callback(self._answered)

    def _answered(self, _: "Future[T]") -> None:
        with self._lock:
            self._waiting -= 1

    def _watch(self) -> None:
        seen = time.monotonic()
        while self.alive and not self._ended.wait(LOOK_EVERY_SECONDS):
            try:
                there = self.client.nthreads()
            except (OSError, AttributeError):  # what the library says of a connection that is gone
                continue
            if there or not self._waiting:
                seen = time.monotonic()
            if time.monotonic() - seen > PATIENCE_SECONDS:
                self.trouble = (
                    f"The Dask cluster at {self._address} had no worker for "
                    f"{PATIENCE_SECONDS:.0f} s"
                )
                _close(self.client)
                return

    def close(self) -> None:
        """Lets go of what is under way, and of the cluster."""
        self._ended.set()
        self._watching.join()
        _close(self.client)


def _close(client: Any) -> None:  # noqa: ANN401 (the library is not typed)
    # One that looks for a scheduler that is gone does not answer, and ends by itself soon after.
    with suppress(TimeoutError):
        client.close(timeout=CLOSE_SECONDS)


# What follows runs in a worker of a cluster.


def _with_this_code(digest: str, function: Callable[[*Ts], T], *args: *Ts) -> T:
    if code_digest() != digest:
        raise InvalidInput(
            f"compute.dask: the Dask worker on {socket.gethostname()} has another version of this "
            "package. Install the same one there and start the worker anew."
        )
    return function(*args)
