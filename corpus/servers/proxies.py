"""The proxies and certificates that environment variables name, for servers on other machines.

A server on this machine is asked directly, whatever they say. For any other, what they say is
looked up here and not by the HTTP libraries: those refuse to start over a variable that is broken,
even if it concerns another address, and do not say which one it is.
"""

import ipaddress
import os
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import httpx2
import yarl

from corpus.errors import InvalidInput

_SCHEMES = ("http", "https", "all")
_VARIABLES = tuple(
    name for scheme in _SCHEMES for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
)

CERTIFICATES = "SSL_CERT_FILE"

_set_aside: dict[str, str] = {}
"""Variables that were taken out of the environment."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the environment variable that names it."""

    variable: str
    url: httpx2.URL


def is_local(host: str) -> bool:
    """Whether a host is this machine by its very name or number."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def proxy_for(url: httpx2.URL) -> Proxy | None:
    """The proxy that requests to an address go through; None if they go directly.

    Raises:
        InvalidInput: an environment variable names one that cannot be used.
    """
    if is_local(url.host) or _excepted(url):
        return None
    variables = given()
    for scheme in (url.scheme, "all"):
        for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY"):
            if value := variables.get(name, "").strip():
                return Proxy(name, _usable(name, value, url))
    return None


def given() -> Mapping[str, str]:
    """The environment as it was given to this process."""
    return {**_set_aside, **os.environ}


def set_aside_unusable() -> None:
    """Takes proxies and certificates that no library can use out of this process's environment.

    Prefect would fail over them, though its server is on this machine. They are remembered for
    those who ask here.
    """
    for name in _VARIABLES:
        value = os.environ.get(name, "").strip()
        if value and not _known(value):
            _set_aside[name] = os.environ.pop(name)
    if os.environ.get(CERTIFICATES):
        try:
            _trusting(os.environ[CERTIFICATES], None)
        except OSError:
            _set_aside[CERTIFICATES] = os.environ.pop(CERTIFICATES)


def certificates(url: httpx2.URL) -> ssl.SSLContext:
    """What the certificate of a server is checked with.

    Raises:
        InvalidInput: SSL_CERT_FILE names a file that cannot be read, and the address needs it.
    """
    file = given().get(CERTIFICATES)
    try:
        return _trusting(file, os.environ.get("SSL_CERT_DIR"))
    except OSError as error:
        if url.scheme == "https":
            raise InvalidInput(
                f"The environment variable {CERTIFICATES} names {file}, which cannot be read as "
                f"certificates ({error.strerror or error}). Correct it or unset it."
            ) from None
        return _trusting(None, None)


@cache
def _trusting(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Reading what a machine trusts takes a fiftieth of a second: once is enough."""
    if file or folder:
        return ssl.create_default_context(cafile=file or None, capath=None if file else folder)
    return httpx2.create_ssl_context(trust_env=False)


def require_way(address: str) -> None:
    """Sees that nothing in the environment bars the way to an address.

    Raises:
        InvalidInput: a variable names a proxy or certificates that cannot be used, and is needed.
    """
    try:
        url = httpx2.URL(address)
    except httpx2.InvalidURL:
        return  # which its own client says better
    proxy_for(url)
    certificates(url)


def _excepted(url: httpx2.URL) -> bool:
    """Whether no_proxy names a host: itself, a domain it belongs to, or a network."""
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    place = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    if urllib.request.proxy_bypass_environment(place, {"no": listed}):  # type: ignore[attr-defined]
        return True
    try:
        host = ipaddress.ip_address(url.host)
    except ValueError:
        return False
    return any(host in network for network in map(_network, listed.split(",")) if network)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.strip().strip("[]"), strict=False)
    except ValueError:
        return None


def _parsed(value: str) -> httpx2.URL | None:
    try:
        whole = value if "://" in value else f"http://{value}"
        yarl.URL(whole)  # what carries the requests reads it too, and is stricter
        url = httpx2.URL(whole)
    except (ValueError, httpx2.InvalidURL):
        return None
    return url if url.host else None


def _known(value: str) -> bool:
    """Whether HTTP libraries can be made with a proxy, be it good or not."""
    url = _parsed(value)
    if url is None:
        return False
    return url.scheme in ("http", "https") or (
        url.scheme in ("socks5", "socks5h") and find_spec("socksio") is not None
    )


def _usable(name: str, value: str, url: httpx2.URL) -> httpx2.URL:
    proxy = _parsed(value)
    if proxy is None or proxy.scheme not in ("http", "https"):
        kind = f" (its kind is '{proxy.scheme}')" if proxy else ""
        raise InvalidInput(
            f"The environment variable {name} names a proxy that cannot be used for {url.host}"
            f"{kind}: it has to begin with http:// or https://. Correct it or unset it, or add "
            f"{url.host} to no_proxy."
        )
    return proxy
