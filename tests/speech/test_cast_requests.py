"""What a voice is asked for where a recipe casts speakers."""

import shutil
from dataclasses import replace

import pytest
import yaml

from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import BUNDLED
from corpus.speech.clip_requests import clip_request, query_clip
from corpus.text.queries import query_request
from tests.support.speech_server import SpeechServer, speak

CAST = ('speech.query_voices=["lena"]', 'speech.response_voices=["paul"]')
SERVED = (
    'speech.backend="openai"', 'speech.endpoints=["http://127.0.0.1:9/v1"]', 'speech.model="m"'
)  # fmt: skip


def first_query(blueprint):
    return next(blueprint.plan.queries())


def asked(blueprint, *, takes_points):
    clip = query_clip(blueprint, first_query(blueprint), "Hello there.")
    return clip_request(blueprint, "m", clip, 0, takes_points=takes_points)


def test_the_builtin_voice_gets_the_numbers_of_its_speaker():
    request = asked(Blueprint.named("demo", CAST), takes_points=True)
    plain = asked(Blueprint.named("demo"), takes_points=True)
    assert (request.voice, plain.speaker) == ("lena", None)
    assert replace(request, voice="wren", speaker=None).digest() == plain.digest()


@pytest.mark.parametrize("key", ["semitones", "formants", "roughness"])
def test_a_speaker_who_is_changed_is_another_request(tmp_path, key):
    folder = shutil.copytree(BUNDLED, tmp_path / "prompts")
    data = yaml.safe_load((folder / "speakers.yaml").read_text())
    (lena,) = (one for one in data["speakers"] if one["name"] == "lena")
    lena["builtin"][key] = lena["builtin"].get(key, 0.0) + 0.1
    (folder / "speakers.yaml").write_text(yaml.safe_dump(data))
    before = asked(Blueprint.named("demo", CAST), takes_points=True)
    after = asked(Blueprint.named("demo", (*CAST, f'prompts="{folder}"')), takes_points=True)
    assert before.digest() != after.digest()


def test_a_served_voice_is_asked_for_by_the_name_that_is_served():
    request = asked(Blueprint.named("demo", (*CAST, *SERVED)), takes_points=False)
    assert (request.voice, request.speaker, request.design) == ("Vivian", None, False)
    assert request.style == "Very happy."


def test_a_model_that_makes_voices_gets_the_description_before_the_style():
    design = (*CAST, *SERVED, "speech.voice_design=true")
    request = asked(Blueprint.named("demo", design), takes_points=False)
    assert (request.voice, request.design) == ("lena", True)
    assert request.style == (
        "A woman in her twenties with a bright, clear voice. She speaks briskly. Very happy."
    )


def test_the_prompts_of_a_recipe_that_casts_nobody_know_of_no_speakers(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "prompts")
    set_here = f'prompts="{folder}"'
    plain, cast = (Blueprint.named("demo", (*more, set_here)).prompts for more in ((), CAST))
    (folder / "speakers.yaml").write_text("speakers: nonsense")
    assert Blueprint.named("demo", (set_here,)).prompts.digest == plain.digest
    assert (plain.speakers, cast.digest != plain.digest) == ((), True)


def test_the_request_for_a_query_says_who_will_say_it_where_the_templates_do():
    plain, cast = (Blueprint.named("demo", ('llm.templates="full"', *more)) for more in ((), CAST))
    *_, told = query_request(cast, first_query(cast), 0).messages
    *_, untold = query_request(plain, first_query(plain), 0).messages
    assert told["content"].startswith(untold["content"])
    assert "The person who says it is a young woman." in told["content"]


@pytest.mark.parametrize("batch", [1, 4])
def test_a_server_is_told_that_it_makes_the_voice(tmp_path, written, speech, batch):
    design = (*CAST, "speech.voice_design=true", "speech.rules.other_speaker=false")
    batching = (f"speech.batch={batch}", "speech.concurrency=4")
    with SpeechServer(speech) as server:
        clips, _ = speak(written, server, tmp_path, *design, *batching)
    assert len(clips) == len(server.bodies) == 6
    assert {body["task_type"] for body in server.bodies} == {"VoiceDesign"}
    assert {body["voice"] for body in server.bodies} == {"lena", "paul"}


def test_every_speaker_says_the_references_once(tmp_path, written, speech):
    served = ('speech.query_voices=["lena"]', 'speech.response_voices=["paul", "finn"]')
    with SpeechServer(speech) as server:
        speak(written, server, tmp_path, *served)
        assert len(server.bodies) == 6 + 3 * 6
        assert {body["voice"] for body in server.bodies} == {"Vivian", "Eric", "Aiden"}
        assert not any("task_type" in body for body in server.bodies)
        speak(written, server, tmp_path, *served)
        assert len(server.bodies) == 6 + 3 * 6
