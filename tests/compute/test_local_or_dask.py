"""Local processes and a real Dask cluster: the same results, whoever computes and dies."""

import asyncio
import os
import signal
import time

import numpy as np
import pytest

from corpus.compute import local_or_dask as module
from corpus.compute.local_or_dask import Workers
from corpus.embedding.embedder import Embedder
from corpus.embedding.embedding_process import TEXTS_PER_CALL, EmbeddingProcess
from corpus.embedding.minilm import BUILTIN
from corpus.errors import InvalidInput, SympatheiaError
from tests.support.dask_cluster import DaskCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with DaskCluster(tmp_path_factory.mktemp("dask"), workers=2) as cluster:
        cluster.wait_for(2)
        yield cluster


@pytest.fixture
def own_cluster(tmp_path):
    with DaskCluster(tmp_path, workers=2) as cluster:
        cluster.wait_for(2)
        yield cluster


def refuse(text: str) -> None:
    raise InvalidInput(f"no {text}")


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_and_say(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


async def all_of(workers: Workers, function, values) -> list:
    return await asyncio.gather(*(workers.call(function, value) for value in values))


@pytest.mark.parametrize("where", ["here", "cluster"])
def test_calls_are_answered_in_processes_other_than_this(where, cluster):
    with Workers("waits", 2, cluster.address if where == "cluster" else "") as workers:
        assert workers.at_once == (4 if where == "cluster" else 2)
        said = asyncio.run(all_of(workers, wait_and_say, [0.3] * 4))
    assert len(set(said)) in ((2,) if where == "cluster" else (1, 2))  # one may start late
    assert os.getpid() not in said


@pytest.mark.parametrize("where", ["here", "cluster"])
def test_what_a_function_raises_is_raised_here(where, cluster):
    with Workers("refuses", 1, cluster.address if where == "cluster" else "") as workers:
        with pytest.raises(InvalidInput, match="^no luck$"):
            asyncio.run(workers.call(refuse, "luck"))
        with pytest.raises(InvalidInput, match="^no rain$"):
            workers.wait_for(workers.submit(refuse, "rain"))


def test_a_cluster_embeds_to_the_same_bits(cluster):
    texts = [f"How does number {number} feel today?" for number in range(2 * TEXTS_PER_CALL + 5)]
    with EmbeddingProcess(BUILTIN, cluster.address) as process:
        found = process.encode(texts)
        assert process.encode([]).shape == (0, found.shape[1])
    np.testing.assert_array_equal(found, Embedder(BUILTIN).encode(texts))


def test_a_worker_that_dies_costs_only_the_call_it_was_at(own_cluster):
    with Workers("waits", 1, own_cluster.address) as workers:

        async def killed_midway() -> tuple[list[int], list[int]]:
            await all_of(workers, wait_and_say, [0.0])
            calls = asyncio.gather(*(workers.call(wait_and_say, 0.5) for _ in range(8)))
            await asyncio.sleep(0.7)
            own_cluster.workers[0].kill()
            # The other one has answered what was left, and goes on doing so.
            return await calls, await all_of(workers, wait_and_say, [0.0] * 3)

        said, after = asyncio.run(killed_midway())
    assert len(said) == 8
    assert set(after) == {own_cluster.workers[1].pid}


def test_work_that_kills_every_worker_is_a_sentence(own_cluster):
    for _ in range(3):
        own_cluster.workers.append(own_cluster.add_worker())
    with (
        Workers("breaks", 1, own_cluster.address) as workers,
        pytest.raises(SympatheiaError, match="Several Dask workers died .* one that breaks"),
    ):
        asyncio.run(workers.call(die, 0))


def test_a_scheduler_that_goes_is_a_sentence_not_a_hang(own_cluster):
    with Workers("waits", 1, own_cluster.address) as workers:

        async def gone_midway() -> None:
            await workers.call(wait_and_say, 0.0)
            call = asyncio.ensure_future(workers.call(wait_and_say, 3600))
            await asyncio.sleep(0.5)
            own_cluster.kill_scheduler()
            await call

        with pytest.raises(SympatheiaError, match="scheduler at tcp.* is gone.* is kept"):
            asyncio.run(gone_midway())


def test_a_cluster_left_without_workers_for_too_long_is_a_sentence(own_cluster, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(module, "LOOK_EVERY_SECONDS", 0.2)
    with Workers("waits", 1, own_cluster.address) as workers:

        async def left_alone() -> None:
            await workers.call(wait_and_say, 0.0)
            call = asyncio.ensure_future(workers.call(wait_and_say, 3600))
            await asyncio.sleep(0.5)
            for worker in own_cluster.workers:
                worker.kill()
            await call

        with pytest.raises(SympatheiaError, match="no worker for 1 s. .* is kept"):
            asyncio.run(left_alone())


def test_a_call_that_is_cancelled_is_cancelled_and_not_an_error(cluster):
    with Workers("waits", 1, cluster.address) as workers:

        async def given_up() -> None:
            await workers.call(wait_and_say, 0.0)
            call = asyncio.ensure_future(workers.call(wait_and_say, 3))
            await asyncio.sleep(0.5)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            # The worker that was at it is free for others in the end: what is not begun is dropped.
            await all_of(workers, wait_and_say, [0.0])

        asyncio.run(given_up())


def test_no_scheduler_and_no_workers_are_sentences(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 3.0)
    with (
        Workers("waits", 1, "tcp://127.0.0.1:9") as workers,
        pytest.raises(
            SympatheiaError, match="compute.dask: no Dask scheduler answers at tcp://127"
        ),
    ):
        asyncio.run(workers.call(wait_and_say, 0.0))
    with (
        DaskCluster(tmp_path, workers=0) as empty,
        Workers("waits", 1, empty.address) as workers,
        pytest.raises(SympatheiaError, match="has no workers. Start some with 'dask worker"),
    ):
        asyncio.run(workers.call(wait_and_say, 0.0))


def test_a_scheduler_that_goes_while_nothing_is_asked_is_a_sentence_too(own_cluster):
    with Workers("waits", 1, own_cluster.address) as workers:
        asyncio.run(workers.call(wait_and_say, 0.0))
        own_cluster.kill_scheduler()
        time.sleep(1.0)
        for ask in (lambda: workers.at_once, lambda: workers.submit(wait_and_say, 0.0)):
            with pytest.raises(SympatheiaError, match="scheduler at tcp.* is gone"):
                ask()


def test_only_the_first_waits_for_a_scheduler_that_is_not_there(monkeypatch):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 3.0)
    with Workers("waits", 1, "tcp://127.0.0.1:9") as workers:

        async def many() -> list:
            calls = (workers.call(wait_and_say, 0.0) for _ in range(64))
            return await asyncio.gather(*calls, return_exceptions=True)

        errors = asyncio.run(many())
    assert len({id(error) for error in errors}) == 1


def test_an_address_of_a_kind_that_is_not_set_up_is_a_sentence():
    with (
        Workers("waits", 1, "tls://127.0.0.1:9") as workers,
        pytest.raises(SympatheiaError, match="compute.dask: no Dask scheduler answers at tls"),
    ):
        asyncio.run(workers.call(wait_and_say, 0.0))


def test_a_worker_with_other_code_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(module, "code_digest", lambda: "another")
    with (
        Workers("waits", 1, cluster.address) as workers,
        pytest.raises(InvalidInput, match="has another version of this package"),
    ):
        asyncio.run(workers.call(wait_and_say, 0.0))
