"""Processes that compute for this one, so that its event loop keeps its time for requests.

They ignore Ctrl-C, which is their parent's to handle, and end when the parent does, however that
is: `multiprocessing` alone would leave them waiting for ever after a kill.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from typing import Any, TypeVar

T = TypeVar("T")

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Workers(ProcessPoolExecutor):
    """A pool whose processes are started whole, or not at all."""

    def submit(self, *call: Any, **named: Any) -> "Future[Any]":  # noqa: ANN401
        # It may start a process, which reads from a pipe what it is to be: stopped between the two,
        # it would find an end there, and print a trace.
        with stopped_later():
            return super().submit(*call, **named)


@contextmanager
def stopped_later() -> Iterator[None]:
    """Keeps signals that stop this process until the block, done whole, has ended."""
    if threading.current_thread() is not threading.main_thread():  # where none arrives
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _STOPPING}
    handlers = {number: handler for number, handler in handlers.items() if handler is not None}
    for number in handlers:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for arrived in came:
            signal.raise_signal(arrived)


def worker_processes(
    count: int, begin: Callable[..., object] | None = None, *arguments: object
) -> ProcessPoolExecutor:
    """A pool of so many processes, each of which calls `begin(*arguments)` first, if given.

    They start when they are given work; `begin` is best kept from failing, because that breaks the
    pool without a word about the reason.
    """
    # Spawned, not forked: a fork would carry along the parent's threads, loop and sockets.
    context = multiprocessing.get_context("spawn")
    initializer = partial(_begin, begin, *arguments)
    return _Workers(count, mp_context=context, initializer=initializer)


def begun_ahead(calls: Iterable[T], count: int) -> Iterator[T]:
    """The same, so many of them begun before they are asked for."""
    waiting: deque[T] = deque()
    for call in calls:
        waiting.append(call)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


def _begin(begin: Callable[..., object] | None, *arguments: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*arguments)
