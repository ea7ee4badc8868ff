from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from flows import work
from tests.support.line import shared_embedder


@pytest.fixture(scope="module")
def one_embedder() -> Iterator[None]:
    """One process that embeds for all builds of this process: each would take seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        shared = lambda model, _: nullcontext(shared_embedder(model))  # noqa: E731
        patch.setattr(work, "EmbeddingProcess", shared)
        yield
