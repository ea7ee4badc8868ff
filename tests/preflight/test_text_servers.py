"""Faults planted in text servers: each is named by its finding, and by no other."""

import asyncio
import json

import pytest
from aiohttp import web

from corpus.preflight.findings import Finding, look
from corpus.preflight.text_servers import ANSWERED, LISTED, probed
from tests.support.fake_servers import FakeTextServer
from tests.support.findings import NOBODY, blueprint, verdicts
from tests.support.replies import completion, good_text, status


def answers(body, n, *, thoughts=True, seed=True, whole="stop"):
    """A server that does all as it should, but for what it is told to do otherwise."""
    told = body if seed else body | {"seed": 0}
    if body["max_tokens"] < 10:
        return completion("One, two", finish_reason="length")
    thinks = body["chat_template_kwargs"]["enable_thinking"] if thoughts is True else thoughts
    extra = {"reasoning": "A window shows trees."} if thinks else {}
    return completion(good_text(told, "query"), finish_reason=whole, **extra)


def uncounted(body, n):
    reply = json.loads(answers(body, n).body)
    return web.json_response(reply | {"usage": None})


def in_thoughts(body, n):
    return completion(None, reasoning=good_text(body, "query"))


TEXT_FAULTS = {
    "refuses the key": ({"models_status": 401}, {"text_server": "failed"}),
    "is loading": ({"models_status": 503}, {"text_server": "failed"}),
    "serves another model": ({"models": ("other",)}, {"model_served": "failed"}),
    "has loaded none": ({"models": ()}, {"model_served": "warning"}),
    "has a short context": ({"of_model": {"max_model_len": 2048}}, {"context_length": "failed"}),
    "may overflow": ({"of_model": {"max_model_len": 4700}}, {"context_length": "warning"}),
    "refuses what it is asked": ({"behave": lambda b, n: status(400)}, {"short_text": "failed"}),
    "says nothing": ({"behave": lambda b, n: completion("")}, {"short_text": "failed"}),
    "answers in its thoughts": ({"behave": in_thoughts}, {"short_text": "failed"}),
    "always thinks": (
        {"behave": lambda b, n: answers(b, n, thoughts="always")},
        {"thinking_off": "failed"},
    ),
    "never thinks": (
        {"behave": lambda b, n: answers(b, n, thoughts=False)},
        {"thinking_on": "warning"},
    ),
    "does not repeat itself": (
        {"behave": lambda b, n: answers(b | {"seed": n}, n)},
        {"text_seed": "warning"},
    ),
    "has one text for all seeds": (
        {"behave": lambda b, n: answers(b, n, seed=False)},
        {"text_sampling": "warning"},
    ),
    "does not say how it ended": (
        {"behave": lambda b, n: answers(b, n, whole=None)},
        {"finish_reason": "warning"},
    ),
    "passes off cut answers as whole": (
        {"behave": lambda b, n: completion("One, two") if n == 3 else answers(b, n)},
        {"finish_reason": "failed"},
    ),
    "does not count": ({"behave": uncounted}, {"token_counts": "warning"}),
}
"""What a server does, and what is found of it."""


def text_findings(url: str) -> list[Finding]:
    asked = blueprint('llm.model="fake"', f'llm.endpoints=["{url}"]', recipe="sympatheia-18k")
    return list(look((*LISTED, *ANSWERED), asyncio.run(probed(asked, url)), url))


def test_a_text_server_that_does_all_as_it_should_passes():
    with FakeTextServer(behave=answers, of_model={"max_model_len": 32_768}) as server:
        found = text_findings(server.base_url)
    assert verdicts(found) == {}
    assert {one.name for one in found} == {check.name for check in (*LISTED, *ANSWERED)}


@pytest.mark.parametrize("fault", TEXT_FAULTS)
def test_a_fault_of_a_text_server_is_named(fault):
    does, names = TEXT_FAULTS[fault]
    with FakeTextServer(**{"behave": answers} | does) as server:
        found = text_findings(server.base_url)
    assert verdicts(found) == names
    assert all(one.remedy for one in found if one.verdict != "passed")


def test_a_text_server_that_is_not_there_is_named():
    assert verdicts(text_findings(NOBODY)) == {"text_server": "failed"}
