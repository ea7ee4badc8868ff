"""The Hub's own client, pointed at the double of the Hub: in this process, or in others."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http

from tests.support.hub_server import TOKEN, Hub


@contextmanager
def hub_of_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The double, as this process's Hub; `hub.waits` has how long the client would have slept."""
    waits: list[float] = []
    with Hub() as hub:
        hub.waits = waits
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        files = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{")[2]
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{{files}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        for module in (_http, file_download):
            monkeypatch.setattr(module, "time", SimpleNamespace(sleep=waits.append))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        huggingface_hub.close_session()
        yield hub
    huggingface_hub.close_session()


def hub_environment(hub: Hub, home: Path) -> dict[str, str]:
    """That of processes that know no other Hub."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
    }
