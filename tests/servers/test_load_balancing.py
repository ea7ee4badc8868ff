"""The pool against several servers and many requests: sharing, limits, loss and return."""

import asyncio
import resource
from collections.abc import Awaitable, Callable

import pytest

from corpus.servers.chat_requests import complete
from corpus.servers.load_balancing import Endpoint, Line
from corpus.servers.retry_and_failover import Endpoints
from tests.servers.test_retry_and_failover import request, unused_url, with_pool
from tests.support.fake_servers import FakeTextServer, TextServerProcess
from tests.support.replies import Body, Reply, status


def asking(count: int, at_once: int = 64) -> Callable[[Endpoints], Awaitable[None]]:
    """A job that sends so many requests, so many at once."""

    async def job(pool: Endpoints) -> None:
        numbers = iter(range(count))

        async def worker() -> None:
            for n in numbers:
                await complete(pool, request(n), f"query {n}")

        await asyncio.gather(*(worker() for _ in range(at_once)))

    return job


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def test_requests_go_to_the_least_loaded_server() -> None:
    with FakeTextServer(latency=0.1) as fast, FakeTextServer(latency=0.3) as slow:
        with_pool(Endpoints([fast.base_url, slow.base_url]), asking(200, at_once=20))
        assert len(fast.requests) + len(slow.requests) == 200
        assert len(fast.requests) > 1.5 * len(slow.requests)
        assert max(fast.most_in_flight, slow.most_in_flight) <= 14


def test_a_server_has_no_more_in_flight_than_its_limit() -> None:
    with FakeTextServer(latency=0.05) as one, FakeTextServer(latency=0.05) as other:
        with_pool(Endpoints([one.base_url, other.base_url], concurrency=6), asking(120))
        assert one.most_in_flight == other.most_in_flight == 6


def test_the_limit_is_kept_full() -> None:
    with TextServerProcess(latency=0.5) as server:
        with_pool(Endpoints([server.base_url], concurrency=64), asking(320, at_once=128))
        samples = [in_flight for _, in_flight in server.report()["samples"]]
    busy = samples[samples.index(64) : len(samples) - samples[::-1].index(64)]
    # Modest, for the tests may run on a busy machine; benchmarks/client.py holds it to account.
    assert sum(busy) / len(busy) > 0.7 * 64


def test_a_place_goes_to_the_first_in_line() -> None:
    async def run() -> None:
        endpoint = Endpoint("http://a/v1", None, 1)  # type: ignore[arg-type]
        line = Line([endpoint])
        assert await line.enter() is endpoint
        order: list[int] = []

        async def wait(number: int) -> None:
            await line.enter()
            order.append(number)

        waiting = [asyncio.create_task(wait(number)) for number in range(3)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        assert order == []
        for so_far in ([1], [1, 2]):
            line.leave(endpoint)
            await asyncio.sleep(0.01)
            assert order == so_far
            assert endpoint.in_flight == 1
        line.leave(endpoint)
        await asyncio.sleep(0.01)
        assert endpoint.in_flight == 0

    asyncio.run(run())


def test_a_place_given_to_one_who_just_left_is_given_back() -> None:
    async def run() -> None:
        endpoint = Endpoint("http://a/v1", None, 1)  # type: ignore[arg-type]
        line = Line([endpoint])
        leaver = asyncio.create_task(line.enter())
        while not endpoint.in_flight:
            await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        assert leaver.cancelled()
        assert endpoint.in_flight == 0

    asyncio.run(run())


def test_the_same_server_given_twice_counts_once() -> None:
    async def job(pool: Endpoints) -> None:
        assert len(pool.snapshot()) == 1

    with_pool(Endpoints(["http://localhost:1/v1", "http://localhost:1/v1/"]), job)


def test_one_of_three_servers_is_not_there() -> None:
    with FakeTextServer() as one, FakeTextServer() as other:
        gone = unused_url()

        async def job(pool: Endpoints) -> None:
            await asking(100)(pool)
            states = {state.url: state for state in pool.snapshot()}
            assert not states[gone].healthy
            assert states[gone].last_error == "connection refused"
            assert states[gone].done == 0
            assert states[one.base_url].done + states[other.base_url].done == 100

        with_pool(Endpoints([gone, one.base_url, other.base_url]), job)


def test_a_server_that_only_fails_is_taken_out_for_most_of_the_time() -> None:
    with (
        FakeTextServer(behave=lambda body, n: status(500)) as broken,
        FakeTextServer(latency=0.05) as good,
    ):
        with_pool(Endpoints([broken.base_url, good.base_url]), asking(300, at_once=8))
        assert good.answered == 300
        assert len(broken.requests) < 40


def test_a_server_returns_when_it_answers_again() -> None:
    with FakeTextServer(latency=0.01) as stays, FakeTextServer(latency=0.01) as leaves:

        async def job(pool: Endpoints) -> None:
            work = asyncio.create_task(asking(3000, at_once=8)(pool))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(leaves.stop)
            await until(lambda: not pool.snapshot()[1].healthy)
            before = len(leaves.requests)
            await asyncio.sleep(0.3)
            leaves.start()
            await until(lambda: pool.snapshot()[1].healthy)
            await until(lambda: len(leaves.requests) > before + 5 or work.done())
            assert not work.done()
            work.cancel()

        with_pool(Endpoints([stays.base_url, leaves.base_url]), job)


def test_all_servers_down_for_a_while_heals_by_itself() -> None:
    with FakeTextServer(latency=0.05) as one, FakeTextServer(latency=0.05) as other:

        async def job(pool: Endpoints) -> None:
            work = asyncio.create_task(asking(300, at_once=32)(pool))
            await asyncio.sleep(0.2)
            for server in (one, other):
                await asyncio.to_thread(server.stop)
            await asyncio.sleep(2)
            assert not work.done()
            assert not any(state.healthy for state in pool.snapshot())
            one.start()
            await work
            other.start()

        with_pool(Endpoints([one.base_url, other.base_url], patience_seconds=30), job)


def test_a_server_killed_and_restarted_in_mid_run() -> None:
    with TextServerProcess(latency=0.1, keep=True) as server:
        received = 0

        async def job(pool: Endpoints) -> None:
            nonlocal received
            work = asyncio.create_task(asking(400, at_once=32)(pool))
            await asyncio.sleep(0.5)
            received = server.report()["count"]
            server.kill()
            await asyncio.to_thread(server.start)
            await work
            received += server.report()["count"]
            assert pool.snapshot()[0].done == 400

        with_pool(Endpoints([server.base_url]), job)
        # Nothing twice but what was in flight at the kill (or failed while it was down).
        assert 400 - 32 <= received <= 400 + 64


def test_a_busy_server_is_given_less_until_it_answers() -> None:
    server = FakeTextServer(latency=0.05)

    def crowded(body: Body, n: int) -> Reply | None:
        return status(429, "too many requests") if server.in_flight > 8 else None

    server.behave = crowded
    with server:
        limits: list[int | None] = []

        async def job(pool: Endpoints) -> None:
            work = asyncio.create_task(asking(400)(pool))
            while not work.done():
                limits.append(pool.snapshot()[0].limit)
                await asyncio.sleep(0.02)
            await work

        # No patience at all: it is busy, but it answers, so no request may give up.
        with_pool(Endpoints([server.base_url], concurrency=64, patience_seconds=0.2), job)
        assert min(limit for limit in limits if limit) <= 8
        assert server.answered == len(server.requests)
        assert len(server.requests) < 800


def test_the_limit_is_halved_once_for_those_in_flight_together_and_earned_back() -> None:
    endpoint = Endpoint("http://a/v1", None, 64)  # type: ignore[arg-type]
    endpoint.in_flight = 40
    endpoint.turned_away(sent_at=1.0, now=2.0)
    endpoint.turned_away(sent_at=1.5, now=2.1)
    assert endpoint.state().limit == 20
    endpoint.turned_away(sent_at=2.0, now=3.0)
    assert endpoint.state().limit == 10
    for _ in range(10):
        endpoint.succeeded()
    assert endpoint.state().limit == 10
    for _ in range(1100):
        endpoint.succeeded()
    assert endpoint.state().limit == 64


@pytest.mark.parametrize("most", [1, 64])
def test_the_limit_never_falls_below_one(most: int) -> None:
    endpoint = Endpoint("http://a/v1", None, most)  # type: ignore[arg-type]
    for second in range(20):
        endpoint.in_flight = 1
        endpoint.turned_away(sent_at=second, now=second)
    assert endpoint.state().limit == 1


def test_hundreds_are_in_flight_at_once() -> None:
    with TextServerProcess(latency=5.0) as server:
        with_pool(Endpoints([server.base_url]), asking(400, at_once=400))
        assert server.report()["most_in_flight"] > 300


def test_the_limit_on_open_files_is_lifted() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with_pool(Endpoints([unused_url()]), asking(0))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 512
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
