"""Processes that compute for another one."""

import multiprocessing
import signal

import pytest

from corpus.compute.worker_processes import worker_processes


class Stopping:
    """Stops the process that has begun to start another, in the midst of it."""

    def __reduce__(self):
        signal.raise_signal(signal.SIGTERM)
        return (Stopping, ())


def begin(_):
    pass


@pytest.fixture
def interrupted():
    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("interrupted")
def test_a_process_that_is_being_started_when_the_signal_comes_starts_whole(capfd):
    others = len(multiprocessing.active_children())
    with worker_processes(1, begin, Stopping()) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.submit(abs, -1)
        assert len(multiprocessing.active_children()) == others + 1
        assert pool.submit(abs, -2).result() == 2
    assert capfd.readouterr().err == ""
