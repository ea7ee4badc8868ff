import pytest

from tests.support.fake_servers import FakeTextServer
from tests.support.line import write_recipe


@pytest.fixture
def server():
    with FakeTextServer() as running:
        yield running


@pytest.fixture
def recipe(tmp_path, server):
    return write_recipe(tmp_path / "small.toml", server.base_url)
