"""The servers that write and speak, and the one place where requests to them are retried.

A pool holds one client per server. `Endpoints.call` sends a request to the least loaded server
that is up and, when that fails in a way that may pass, tries again, there or elsewhere, for as
long as the recipe's patience lasts. Nothing above or below this module retries.

- A server that fails repeatedly, or that nothing can connect to, is taken out; a background task
  asks for its list of models until it answers, and it returns.
- A server that is busy (HTTP 429) has its limit of requests in flight halved, is left alone for as
  long as it asks, and earns the limit back with every answer.
- A failure that no retry can mend (a wrong key, an unknown model, a malformed request) stops at
  once, with a sentence.

(httpx is imported only so that it is complete: the openai client, which runs on httpx2, also looks
for a loaded httpx at every request, and fails when another thread, importing Prefect, has it half
loaded.)
"""

import asyncio
import logging
import math
import resource
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import httpx  # noqa: F401  (see above)
import httpx2
import openai
import orjson
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    retry_if_result,
    stop_after_delay,
    wait_fixed,
    wait_random_exponential,
)

from corpus.errors import SympatheiaError
from corpus.servers.http_clients import Moved, client_for, require_key, require_url
from corpus.servers.load_balancing import OUT_AFTER, Busy, Endpoint, EndpointState, Failure, Line
from corpus.servers.server_errors import (
    TRANSIENT,
    BadAnswer,
    cannot_connect,
    describe,
    model_asked,
    passing,
    retry_after,
)

__all__ = ["REPAIR", "BadAnswer", "EndpointState", "Endpoints", "EndpointsFailed", "Open"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Send = Callable[[openai.AsyncOpenAI], Awaitable[T]]

MIN_TRIES = 4
"""Tries before a request is given up, however short the patience: one long hang is no verdict."""

PROBE_SECONDS = 5.0
FIRST_ANSWER_SECONDS = 15.0

LONG_PAUSE_SECONDS = 10.0
"""A server that asks to be left alone for so long is told of on the terminal."""

WAIT = wait_random_exponential(multiplier=0.5, max=5)
"""Between tries: seconds drawn from a window that doubles. Short at the most, because it is also
how long a server that returned may stand idle."""

REPAIR = "Start or repair the server"
"""What to do when servers that the recipe names have failed for longer than the patience."""

_FORBIDDEN = (401, 403)


class EndpointsFailed(SympatheiaError):
    """No server gave an answer, or one refused for good; the message says why and what to do."""


Open = Callable[[], Awaitable["Endpoints"]]
"""Gives a pool that is up, at the first call by opening it: who asks nothing needs no server."""


class Endpoints:
    """A pool of OpenAI-compatible servers; an async context manager.

    Args:
        urls: base addresses, as a rule ending in `/v1`.
        api_key_env: name of the environment variable with the key; empty for servers without.
        timeout_seconds: how long one try may take.
        patience_seconds: how long a request is tried, from its first failure on.
        concurrency: most requests in flight at each server; None leaves that to the caller.
        section: the recipe's section that describes these servers, named in messages.
        remedy: what to do when they have failed for longer than the patience.

    Raises:
        InvalidInput: an address cannot be asked, or the environment variable holds no key.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        api_key_env: str = "",
        timeout_seconds: float = 600.0,
        patience_seconds: float = 300.0,
        concurrency: int | None = None,
        section: str = "llm",
        remedy: str = REPAIR,
    ) -> None:
        self._urls = list(dict.fromkeys(require_url(url, f"{section}.endpoints") for url in urls))
        self._key = require_key(api_key_env, f"{section}.api_key_env")
        self._key_env = api_key_env
        self._timeout = timeout_seconds
        self._patience = patience_seconds
        self._most = concurrency or math.inf
        self._section = section
        self._remedy = remedy
        self._secrets = {self._key, self._key.rpartition(" ")[2]}
        self._endpoints: list[Endpoint] = []
        self._last_success = -math.inf

    async def __aenter__(self) -> "Endpoints":
        _allow_many_sockets()
        self._loop = asyncio.get_running_loop()
        for url in self._urls:
            client, proxy = client_for(url, self._key, self._timeout)
            via = f", through the proxy of {proxy.variable}" if proxy else ""
            self._secrets.add(proxy.url.password if proxy else "")
            self._endpoints.append(Endpoint(str(url), client, self._most, via=via))
        self._line = Line(self._endpoints)
        return self

    async def __aexit__(self, *_: object) -> None:
        watchers = [endpoint.watcher for endpoint in self._endpoints if endpoint.watcher]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        await asyncio.gather(*(endpoint.client.close() for endpoint in self._endpoints))

    def snapshot(self) -> list[EndpointState]:
        """What each server is doing now, in the order given."""
        return [endpoint.state() for endpoint in self._endpoints]

    def shown(self, words: str) -> str:
        """A server's words as they may be shown, without the key and not too many."""
        return describe(BadAnswer(words), timeout=self._timeout, secrets=self._secrets)

    def count_tokens(self, client: openai.AsyncOpenAI, tokens: int) -> None:
        """Adds to the completion tokens of the server that a `send` was given the client of."""
        for endpoint in self._endpoints:
            if endpoint.client is client:
                endpoint.completion_tokens += tokens

    async def check(self) -> None:
        """Returns when a server answers, whatever it says.

        Raises:
            EndpointsFailed: none answered in about 15 seconds, or one refused the key.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Failure),
            stop=stop_after_delay(FIRST_ANSWER_SECONDS),
            wait=wait_fixed(1),
            reraise=True,
        )
        try:
            await retrying(self._probe_all)
        except Failure as failure:
            raise EndpointsFailed(
                f"No server answers at {self._all_urls()} ({failure}). Start it, or correct "
                f"{self._section}.endpoints, then run the same command again."
            ) from None

    async def models(self) -> list[httpx2.Response | Failure]:
        """What each server answers to the question for its models, in the order given."""

        async def ask(endpoint: Endpoint) -> httpx2.Response | Failure:
            if not endpoint.healthy:  # a watcher asks it
                return Failure(endpoint.last_error or "out")
            try:
                return await self._models(endpoint)
            except Failure as failure:
                return failure

        return await asyncio.gather(*map(ask, self._endpoints))

    async def call(self, send: Send[T], what: str) -> T:
        """The result of `send`, from whichever server gives one.

        Args:
            send: makes the request with the client it is given; raises BadAnswer when what came
                back cannot be used.
            what: what is asked for, as a message would name it.

        Raises:
            EndpointsFailed: the servers failed for longer than the patience, or one refused.
        """
        first_failure = 0.0

        def waiting_since() -> float:
            # A server that answers others will come to a request that it turned away as well.
            return max(first_failure or self._loop.time(), self._last_success)

        def impatient(state: RetryCallState) -> bool:
            nonlocal first_failure
            now = self._loop.time()
            first_failure = first_failure or now
            busy = state.outcome and isinstance(state.outcome.exception(), Busy)
            since = waiting_since() if busy else first_failure
            return state.attempt_number >= MIN_TRIES and now - since >= self._patience

        async def once() -> T:
            return await self._try(send, what, waiting_since() + self._patience)

        # Its own for each call: tenacity keeps a call's state in the object.
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Failure),
            stop=impatient,
            wait=WAIT,
            reraise=True,
        )
        try:
            return await retrying(once)
        except Failure as failure:
            tries = retrying.statistics["attempt_number"]
            seconds = self._loop.time() - first_failure
            raise EndpointsFailed(
                f"{what} could not be had from {self._all_urls()}: {tries} tries failed over "
                f"{seconds:.0f} s, the last with '{failure}'. {self._remedy} and run the same "
                "command again; nothing done is lost."
            ) from None

    # One try

    async def _try(self, send: Send[T], what: str, until: float) -> T:
        endpoint = await self._line.enter(until)
        sent_at = self._loop.time()
        try:
            async with asyncio.timeout(self._timeout):
                result = await send(endpoint.client)
        except Moved as error:
            raise self._moved(endpoint, error) from None
        except openai.APIStatusError as error:
            if not passing(error):
                raise await self._refusal(endpoint, error, what) from None
            raise self._failed(endpoint, error, sent_at) from None
        except TRANSIENT as error:
            raise self._failed(endpoint, error, sent_at) from None
        else:
            endpoint.succeeded()
            self._last_success = self._loop.time()
            return result
        finally:
            self._line.leave(endpoint)

    def _failed(self, endpoint: Endpoint, error: Exception, sent_at: float) -> Failure:
        """Draws the consequences of a failed try for its server."""
        words = self._words(endpoint, error)
        pause = 0.0
        if isinstance(error, openai.APIStatusError):
            pause = retry_after(error.response.headers)
            words += f"; it asks to be left alone for {pause:,.0f} s" if pause else ""
        log.info("try failed", extra={"server": endpoint.url, "error": words})
        endpoint.failed += 1
        endpoint.last_error = words
        if pause >= LONG_PAUSE_SECONDS and endpoint.paused_until <= self._loop.time():
            patience = f"patience is {self._patience:,.0f} s ({self._section}.patience_seconds)"
            log.warning("%s cannot be asked now: %s; the %s", endpoint.url, words, patience)
        self._line.pause(endpoint, pause)
        if isinstance(error, openai.APIStatusError) and error.status_code == 429:
            endpoint.turned_away(sent_at, self._loop.time())
            return Busy(words)
        endpoint.failures_in_row += 1
        if endpoint.failures_in_row >= OUT_AFTER or cannot_connect(error):
            self._take_out(endpoint)
        return Failure(words)

    def _moved(self, endpoint: Endpoint, error: Moved) -> EndpointsFailed:
        endpoint.failed += 1
        endpoint.last_error = f"redirected, {error}"
        return EndpointsFailed(
            f"{endpoint.url} redirects requests ({error}), and what is asked would be lost on the "
            f"way. Put the address that it redirects to into {self._section}.endpoints, then run "
            "the same command again; nothing done is lost."
        )

    async def _refusal(
        self, endpoint: Endpoint, error: openai.APIStatusError, what: str
    ) -> EndpointsFailed:
        """What to tell the user about a failure that no retry can mend."""
        endpoint.failed += 1
        words = endpoint.last_error = self._words(endpoint, error)
        again = "then run the same command again; nothing done is lost."
        if error.status_code in _FORBIDDEN:
            return self._locked_out(endpoint, words)
        if error.status_code == 404:
            singly = error.request.url.path.endswith("/batch")
            return EndpointsFailed(
                f"{endpoint.url} does not serve {model_asked(error)} ({words})"
                f"{await self._served(endpoint)}. Correct {self._section}.model or "
                f"{self._section}.endpoints (addresses as a rule end in /v1), "
                f"{f'or set {self._section}.batch to 1, ' if singly else ''}{again}"
            )
        return EndpointsFailed(
            f"{endpoint.url} refused the request for {what} ({words}). Change what it objects to "
            f"in the recipe's {self._section} section or in the server's settings, {again}"
        )

    def _locked_out(self, endpoint: Endpoint, words: str) -> EndpointsFailed:
        remedy = (
            f"Put a valid key into the environment variable {self._key_env} "
            f"({self._section}.api_key_env)"
            if self._key_env
            else f"Set {self._section}.api_key_env to the name of an environment variable that "
            "holds a valid key"
        )
        return EndpointsFailed(
            f"{endpoint.url} refused access ({words}). {remedy}, then run the same command again."
        )

    # Out and back

    def _take_out(self, endpoint: Endpoint) -> None:
        if not endpoint.healthy:
            return
        endpoint.healthy = False
        endpoint.failures_in_row = max(endpoint.failures_in_row, OUT_AFTER)
        log.warning("%s is out: %s", endpoint.url, endpoint.last_error)
        endpoint.watcher = self._loop.create_task(self._watch(endpoint))
        self._line.advance()

    async def _watch(self, endpoint: Endpoint) -> None:
        async def still_out() -> bool:
            try:
                status = (await self._models(endpoint)).status_code
            except Failure:
                return True
            return status >= 500 or status in _FORBIDDEN

        # Not at once: a server that answers this but fails at its work would come and go.
        await asyncio.sleep(1)
        await AsyncRetrying(retry=retry_if_result(bool), wait=WAIT)(still_out)
        endpoint.healthy = True
        log.warning("%s is back", endpoint.url)
        self._line.advance()

    async def _probe_all(self) -> None:
        silent: list[tuple[Endpoint, Failure]] = []
        for endpoint, answer in zip(self._endpoints, await self.models(), strict=True):
            if isinstance(answer, Failure):
                endpoint.last_error = str(answer)
                silent.append((endpoint, answer))
            elif answer.status_code in _FORBIDDEN:
                raise self._locked_out(endpoint, f"HTTP {answer.status_code}")
        if len(silent) == len(self._endpoints):
            raise silent[0][1]
        for endpoint, _ in silent:
            self._take_out(endpoint)

    async def _models(self, endpoint: Endpoint) -> httpx2.Response:
        """A server's answer, of any status, to the question for its models."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await endpoint.client.get(
                    "/models", cast_to=httpx2.Response, options={"follow_redirects": False}
                )
        except openai.APIStatusError as error:
            return error.response
        except TRANSIENT as error:
            raise Failure(self._words(endpoint, error)) from None

    async def _served(self, endpoint: Endpoint) -> str:
        try:
            models = orjson.loads((await self._models(endpoint)).content)["data"]
            names = ", ".join(f"'{model['id']}'" for model in models)
        except (Failure, orjson.JSONDecodeError, KeyError, TypeError):
            return ""
        return f"; it serves {names}" if names else ""

    # Words

    def _words(self, endpoint: Endpoint, error: Exception) -> str:
        return describe(error, timeout=self._timeout, secrets=self._secrets) + endpoint.via

    def _all_urls(self) -> str:
        return ", ".join(endpoint.url for endpoint in self._endpoints)


def _allow_many_sockets() -> None:
    """Lifts this process's limit on open files, by default often 1,024, as far as it may go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(65_536, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
