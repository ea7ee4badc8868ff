from collections.abc import Callable

import numpy as np
import pytest
from tenacity import wait_none

from corpus.judge.rubrics import ADAPTATION, Asked, Rubrics
from corpus.plan.prompt_files import BUNDLED
from corpus.servers import retry_and_failover
from corpus.sound.clip_audio import encode_flac
from corpus.store.digest_store import Store
from schemas.audio import SAMPLE_RATE


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(retry_and_failover, "WAIT", wait_none())


@pytest.fixture(scope="session")
def rubrics() -> Rubrics:
    return Rubrics(BUNDLED)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store") as store:
        yield store


def clip(grade: int, number: int = 0) -> bytes:
    """A tenth of a second, worth a grade by `loudness_as_grade`, and of a pitch of its own."""
    time = np.arange(SAMPLE_RATE // 10) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * (200 + number) * time)
    return encode_flac((0.2 * grade - 0.1) * tone / np.abs(tone).max())


@pytest.fixture(scope="session")
def to_grade() -> Callable[..., Asked]:
    """What is to be graded, by the grade that it deserves."""

    def made(grade: int, number: int = 0, **told) -> Asked:
        feeling = "very tired: worn out and short of energy"
        given = {"rubric": ADAPTATION, "emotion": "tired", "feeling": feeling}
        return Asked(**(given | {"clip": clip(grade, number)} | told))

    return made
