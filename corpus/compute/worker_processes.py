"""Processes that compute for this one, so that its event loop keeps its time for requests.

They ignore Ctrl-C, which is their parent's to handle, and end when the parent does, however that
is: `multiprocessing` alone would leave them waiting for ever after a kill.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.connection import wait


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
    return ProcessPoolExecutor(count, mp_context=context, initializer=initializer)


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
