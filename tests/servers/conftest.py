import pytest
from tenacity import wait_random_exponential

from corpus.servers import proxies, retry_and_failover

_NAMES = [f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_and_failover, "WAIT", wait_random_exponential(multiplier=0.1, max=1))


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_NAMES, *map(str.upper, _NAMES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(proxies, "_set_aside", {})
