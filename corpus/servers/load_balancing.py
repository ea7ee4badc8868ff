"""Which server a request goes to, and how many each has in flight.

The state of one server and the line of requests that wait for room at any of them. Sending,
retrying and health checks are `corpus.servers.retry_and_failover`'s business.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # half a second, which `status` need not wait for
    import openai

OUT_AFTER = 3
"""Failures in a row, with no answer between, that take a server out."""

TRIAL = 16
"""Requests in flight at a server that returned, until its first answer: it may still be broken."""

LONGEST_PAUSE = 120.0
"""Seconds; a server that asks to be left alone for longer is asked again all the same."""


class Failure(Exception):
    """A try that failed and may succeed when repeated; the message says how it failed."""


class Busy(Failure):
    """A try that was turned away by a server at work on others."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What one server is doing, for display; `limit` is None when it has none."""

    url: str
    in_flight: int
    limit: int | None
    done: int
    failed: int
    completion_tokens: int
    healthy: bool
    last_error: str | None


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server: its client, what it is doing and how much it may be given.

    `via` says, behind the words of a failure, which way requests go, if not directly.
    """

    url: str
    client: "openai.AsyncOpenAI"
    most: float
    via: str = ""
    limit: float = math.inf
    in_flight: int = 0
    done: int = 0
    failed: int = 0
    completion_tokens: int = 0
    failures_in_row: int = 0
    healthy: bool = True
    paused_until: float = 0.0
    limit_cut_at: float = 0.0
    last_error: str | None = None
    watcher: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.limit = self.most

    def has_room(self, now: float) -> bool:
        """Whether a request may be sent to it."""
        trial = TRIAL if self.failures_in_row >= OUT_AFTER else math.inf
        return self.healthy and now >= self.paused_until and self.in_flight < min(self.limit, trial)

    def succeeded(self) -> None:
        """Counts an answer; earns back some of the limit, should it have been cut."""
        self.done += 1
        self.failures_in_row = 0
        # A limit's worth of answers raises it by a twentieth, and at least by one.
        self.limit = min(self.most, self.limit + max(0.05, 1 / self.limit))

    def turned_away(self, sent_at: float, now: float) -> None:
        """Halves the limit; requests that were in flight together do so once."""
        if sent_at >= self.limit_cut_at:
            self.limit = max(1.0, min(self.limit, self.in_flight) // 2)
            self.limit_cut_at = now

    def state(self) -> EndpointState:
        """What it is doing now."""
        return EndpointState(
            url=self.url,
            in_flight=self.in_flight,
            limit=None if math.isinf(self.limit) else int(self.limit),
            done=self.done,
            failed=self.failed,
            completion_tokens=self.completion_tokens,
            healthy=self.healthy,
            last_error=self.last_error,
        )


class Line:
    """Requests that wait for room at a server, served in the order in which they came.

    One is let through in each round of the event loop, even when there is room for all. Building a
    request takes half a millisecond and it leaves in the round after: let through together, a
    hundred would leave together once the last was built, be answered together, and so leave the
    server short of work in every cycle. One by one they spread out.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints
        self._waiting: deque[tuple[asyncio.Future[Endpoint], float]] = deque()
        self._loop = asyncio.get_running_loop()
        self._moving = False

    async def enter(self, until: float = math.inf) -> Endpoint:
        """Takes a place in flight at the least loaded server, once one has room.

        Args:
            until: the time of the event loop until which it is worth waiting for servers that all
                asked to be left alone.

        Raises:
            Failure: every server is out.
            Busy: every server asked to be left alone for longer.
        """
        place: asyncio.Future[Endpoint] = self._loop.create_future()
        self._waiting.append((place, until))
        self.advance()
        try:
            return await place
        except asyncio.CancelledError:
            # The place may have been given in the very moment of the cancellation.
            if place.done() and not place.cancelled() and not place.exception():
                self.leave(place.result())
            raise

    def leave(self, endpoint: Endpoint) -> None:
        """Gives a place back."""
        endpoint.in_flight -= 1
        self.advance()

    def pause(self, endpoint: Endpoint, seconds: float) -> None:
        """Sends nothing more to a server for a while, because it asked so."""
        if seconds > 0:
            until = self._loop.time() + min(seconds, LONGEST_PAUSE)
            endpoint.paused_until = max(endpoint.paused_until, until)
            self._loop.call_at(endpoint.paused_until, self.advance)
            self.advance()

    def advance(self) -> None:
        """Has the line move on; to be called whenever there may be room, or none left at all."""
        if self._waiting and not self._moving:
            self._moving = True
            self._loop.call_soon(self._move)

    def _move(self) -> None:
        self._moving = False
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()
        up = [endpoint for endpoint in self._endpoints if endpoint.healthy]
        if not up:
            self._refuse(Failure, self._endpoints, until=math.inf)
        elif self._waiting and (endpoint := self._least_loaded()):
            endpoint.in_flight += 1
            self._waiting.popleft()[0].set_result(endpoint)
            self.advance()
        elif (pause := min(endpoint.paused_until for endpoint in up)) > self._loop.time():
            self._refuse(Busy, up, until=pause)

    def _refuse(self, kind: type[Failure], because_of: Sequence[Endpoint], until: float) -> None:
        """Sends away all who would not wait for longer, with the last errors of some servers."""
        errors = dict.fromkeys(endpoint.last_error or "out" for endpoint in because_of)
        for place, patience in self._waiting:
            if patience <= until and not place.done():
                place.set_exception(kind("; ".join(errors)))
        self._waiting = deque(entry for entry in self._waiting if not entry[0].done())

    def _least_loaded(self) -> Endpoint | None:
        now = self._loop.time()
        free = [endpoint for endpoint in self._endpoints if endpoint.has_room(now)]
        return min(free, key=lambda endpoint: (endpoint.in_flight, endpoint.done), default=None)
