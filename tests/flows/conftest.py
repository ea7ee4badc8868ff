"""What the tests of flows share."""

from collections.abc import Iterator

import pytest

from tests.support.line import embedding_once


@pytest.fixture(scope="module")
def one_embedder() -> Iterator[None]:
    """One process that embeds for all builds of this process: each would take seconds to start."""
    with embedding_once():
        yield
