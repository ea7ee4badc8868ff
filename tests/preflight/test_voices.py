"""Faults planted in voices: each is named by its finding, and by no other."""

import asyncio

import pytest
from aiohttp import web

from corpus.preflight.findings import Finding, look
from corpus.preflight.voices import VOICES, heard
from tests.support.findings import NOBODY, blueprint, verdicts
from tests.support.voice_server import FakeVoiceServer, hum


def forgetful(*fields):
    """A voice that does not hear some of what it is asked for."""
    return lambda item, together: hum(item | dict.fromkeys(fields))


def moody(item, together):
    moody.times += 1
    return hum(item | {"seed": moody.times})


moody.times = 0

VOICE_FAULTS = {
    "is silent": (lambda i, n: hum(i | {"input": ""}, seconds=0.01), {"speaks": "failed"}),
    "sends a page": (lambda i, n: b"<html>Bad Gateway</html>", {"speaks": "failed"}),
    "does not know the voice": (
        lambda i, n: web.json_response({"error": {"message": "no such voice"}}, status=400),
        {"speaks": "failed"},
    ),
    "has another rate": (lambda i, n: hum(i, rate=22_050), {"sampling_rate": "failed"}),
    "does not repeat itself": (moody, {"voice_seed": "warning", "style": "warning"}),
    "does not hear styles": (forgetful("instructions"), {"style": "failed"}),
    "has one voice": (forgetful("voice"), {"two_voices": "failed"}),
    "is another in company": (
        lambda i, n: hum(i | {"seed": i["seed"] + (n > 1)}),
        {"company": "warning"},
    ),
    "runs away": (
        lambda i, n: hum(i, seconds=20 if i["input"] == "Yes." else 0),
        {"shortest": "warning"},
    ),
}


def voice_findings(url: str, *overrides: str) -> list[Finding]:
    asked = blueprint(f'speech.endpoints=["{url}"]', *overrides, recipe="sympatheia-18k")
    return list(look(VOICES, asyncio.run(heard(asked, url)), url))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_voice_that_does_all_as_it_should_passes(batch):
    with FakeVoiceServer() as server:
        found = voice_findings(server.base_url, f"speech.batch={batch}")
    assert verdicts(found) == {}
    assert {one.name for one in found} == {check.name for check in VOICES}


@pytest.mark.parametrize("fault", VOICE_FAULTS)
def test_a_fault_of_a_voice_is_named(fault):
    speak, names = VOICE_FAULTS[fault]
    with FakeVoiceServer(speak=speak) as server:
        assert verdicts(voice_findings(server.base_url)) == names


def test_a_clip_that_its_batch_changes_is_named():
    speak, names = VOICE_FAULTS["is another in company"]
    with FakeVoiceServer(speak=speak) as server:
        assert verdicts(voice_findings(server.base_url, "speech.batch=4")) == names


def test_a_voice_that_is_not_there_is_named():
    assert verdicts(voice_findings(NOBODY)) == {"speaks": "failed"}
