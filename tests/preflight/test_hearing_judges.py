"""Faults planted in a judge's server: each is named by its finding."""

import asyncio

import pytest

from corpus.preflight.findings import look
from corpus.preflight.hearing_judges import JUDGES, listed
from schemas.recipe_evaluation import SpeechJudge
from tests.support.fake_servers import FakeTextServer
from tests.support.findings import NOBODY

JUDGE_FAULTS = {
    "refuses the key": ({"models_status": 401}, ("judge_server", "HTTP 401")),
    "serves another model": ({"models": ("other",)}, ("judge_server", "it serves 'other'")),
}
"""What the server does, what is found and in which words."""


def found_at(url: str):
    judge = SpeechJudge(endpoints=(url,), model="ears")
    (found,) = look(JUDGES, asyncio.run(listed(judge, url)), url)
    return found


@pytest.mark.parametrize("fault", JUDGE_FAULTS)
def test_a_fault_of_a_judges_server_is_named(fault):
    settings, (name, words) = JUDGE_FAULTS[fault]
    with FakeTextServer(**settings) as server:
        found = found_at(server.base_url)
    assert (found.name, found.verdict, words in found.sentence) == (name, "failed", True), found
    assert "speech.judge." in found.remedy


def test_a_judge_that_nobody_serves_is_named():
    found = found_at(NOBODY)
    assert found.verdict == "failed" and "speech.judge.endpoints" in found.remedy


def test_a_server_that_has_the_model_passes():
    with FakeTextServer(models=("ears",)) as server:
        assert found_at(server.base_url).verdict == "passed"
