"""The HTTP client for one server: its address, its key, and the way there."""

import os

import httpx2
import openai
import yarl

from corpus.errors import InvalidInput, without_logins
from corpus.servers.proxies import Proxy, certificates, proxy_for
from schemas.recipe_values import EXAMPLE, require_base_address

CONNECT_SECONDS = 10.0

# uvicorn, and so vLLM, closes idle connections after 5 s; ours must let go of them first, or a
# request is sometimes sent into a connection that is being closed.
KEEPALIVE_SECONDS = 2.0

_HEADERS_OF_THE_LIBRARY = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")
"""Environment variables that the openai library sends with every request."""

_MOVED = (301, 302, 303)
"""Redirects after which a request would be repeated without its body, as a GET."""


class Moved(Exception):
    """A request was redirected in a way that loses its body; the message says where to."""


def require_key(variable: str, setting: str) -> str:
    """The key in an environment variable, without the space around it; empty for no variable.

    Args:
        variable: the variable's name.
        setting: what named it, as a message would say it.

    Raises:
        InvalidInput: it is not set, or holds what no key can; the message does not show it.
    """
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InvalidInput(
            f"{setting} names the environment variable {variable}, which is not set. Put the key "
            "there, or leave the setting empty for servers without a key."
        )
    if not _is_plain(key):
        raise InvalidInput(
            f"The environment variable {variable} ({setting}) does not hold a key: a key has plain "
            "letters, digits and signs only, and this has a line break, a long dash or the like. "
            "Copy the key once more."
        )
    return key


def require_url(url: str, setting: str) -> httpx2.URL:
    """An address that can be asked.

    Raises:
        InvalidInput: it is none.
    """
    shown = f"{setting}: {without_logins(url)!r}"
    try:
        require_base_address(url)
    except ValueError as error:
        raise InvalidInput(f"{shown}: {error}.") from None
    try:
        found = httpx2.URL(url.rstrip("/"))
        yarl.URL(str(found))  # what carries the requests reads it once more
        found.host.encode("idna")
    except (ValueError, httpx2.InvalidURL) as error:
        raise InvalidInput(f"{shown}: not an address such as {EXAMPLE}: {error}.") from None
    return found


def client_for(
    url: httpx2.URL, key: str, timeout_seconds: float
) -> tuple[openai.AsyncOpenAI, Proxy | None]:
    """A client that neither retries nor waits in line, and the proxy it goes through.

    Args:
        url: the server's base address.
        key: sent as a bearer's; one that begins with 'Basic ' or 'Bearer ' is sent as it is.
        timeout_seconds: how long one try may take.

    Raises:
        InvalidInput: an environment variable for proxies, certificates or headers is unusable.
    """
    for variable in _HEADERS_OF_THE_LIBRARY:
        if not all(map(_is_plain, os.environ.get(variable, "").split("\n"))):
            raise InvalidInput(
                f"The environment variable {variable} holds what cannot be sent in a header. "
                "Correct it or unset it."
            )
    proxy = proxy_for(url)
    timeout = httpx2.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
    http = openai.DefaultAioHttpClient(
        trust_env=False,
        verify=certificates(url),
        proxy=proxy.url if proxy else None,
        timeout=timeout,
        # The pool limits what is in flight; a second limit here would queue requests whose time is
        # already running. (To aiohttp 0 means none; None would mean its default of 100.)
        limits=httpx2.Limits(max_connections=0, keepalive_expiry=KEEPALIVE_SECONDS),
        event_hooks={"response": [_refuse_moves]},
    )
    whole = key.startswith(("Basic ", "Bearer "))
    client = openai.AsyncOpenAI(
        base_url=url,
        api_key=key or "none",
        default_headers={"Authorization": key} if whole else None,
        max_retries=0,
        timeout=timeout,
        http_client=http,
    )
    return client, proxy


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable()


async def _refuse_moves(response: httpx2.Response) -> None:
    if response.status_code in _MOVED and response.request.method == "POST":
        target = str(response.headers.get("location", "")).partition("?")[0]
        raise Moved(f"HTTP {response.status_code} to {without_logins(target) or 'nowhere'}")
