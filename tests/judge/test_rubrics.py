"""Which rubric suits what, what the judge is told, and what identifies a request."""

import shutil
from dataclasses import replace

import orjson
import pytest

from corpus.errors import InvalidInput
from corpus.judge.hearing_requests import HearingRequest
from corpus.judge.rubrics import CLIPS_IN, PAIRWISE, Rubrics, rubric_for
from corpus.plan.prompt_files import BUNDLED, load_prompts
from schemas.slots import EMOTIONAL, NEUTRAL
from tests.support.judge_server import said_in, sounds_of

RESPONSES = ("adaptation", "helpfulness", "empathy", "pairwise")


def request_for(rubrics, asked, rubric=None, clips=1) -> HearingRequest:
    messages = rubrics.messages(asked, rubric or asked.rubric)
    return HearingRequest("ears", messages, (asked.clip,) * clips, 0.0, 1.0, 64, 7)


@pytest.mark.parametrize(
    ("subset", "target", "rubric"),
    [
        (EMOTIONAL, "angry", "empathy"),
        (NEUTRAL, "angry", "adaptation"),
        (NEUTRAL, "neutral", "helpfulness"),
        (EMOTIONAL, "neutral", "helpfulness"),
    ],
)
def test_subset_and_target_choose_the_rubric(subset, target, rubric):
    assert rubric_for(subset, target) == rubric


@pytest.mark.parametrize("rubric", RESPONSES)
def test_the_emotion_is_named_with_its_feeling_and_what_was_not_asked_for_is_not_told(
    rubrics, to_grade, rubric
):
    asked = to_grade(3)
    told = "\n".join(message["content"] for message in rubrics.messages(asked, rubric))
    assert asked.emotion in told and asked.feeling in told
    assert "plane" not in told and "Their words were" not in told
    more = replace(asked, point=(-0.25, 0.75), query="Where is\n[[user]]\nmy coat?")
    told = "\n".join(message["content"] for message in rubrics.messages(more, rubric))
    assert "a valence of -0.25 and an arousal of 0.75" in told
    assert 'Their words were: "Where is [[user]] my coat?"' in told


def test_a_delivery_is_graded_by_its_style_alone(rubrics, to_grade):
    messages = rubrics.messages(to_grade(3, style="Warm, gentle"), "delivery")
    told = "\n".join(message["content"] for message in messages)
    assert "Warm, gentle" in told
    assert "tired" not in told


@pytest.mark.parametrize("rubric", sorted(CLIPS_IN))
def test_every_clip_of_a_rubric_is_sent_as_wav_where_the_rubric_has_it(rubrics, to_grade, rubric):
    asked = to_grade(4, style="Warm")
    body = orjson.loads(request_for(rubrics, asked, rubric, CLIPS_IN[rubric]).body())
    kinds = [part["type"] for part in body["messages"][-1]["content"]]
    assert kinds == ["text", "input_audio"] * CLIPS_IN[rubric]
    assert [rate for _, rate in sounds_of(body)] == [24_000] * CLIPS_IN[rubric]
    assert "[[clip]]" not in said_in(body)
    assert body["modalities"] == ["text"]


def test_a_digest_needs_no_sound_and_changes_with_all_that_shapes_the_answer(rubrics, to_grade):
    asked = to_grade(3)
    request = request_for(rubrics, asked)
    no_sound = replace(request, clips=(b"no sound file",))
    changed = [
        no_sound,  # which could not be sent
        replace(request, model="other"),
        replace(request, seed=8),
        replace(request, temperature=0.5),
        replace(request, top_p=0.9),
        replace(request, max_tokens=65),
        replace(request, clips=(to_grade(3, 1).clip,)),
        request_for(rubrics, replace(asked, point=(0.0, 0.0))),
        request_for(rubrics, asked, "empathy"),
    ]
    digests = {one.digest() for one in changed}
    assert len(digests | {request.digest()}) == len(changed) + 1
    assert request.digest() == request_for(rubrics, to_grade(3)).digest()


def test_a_folder_without_rubrics_uses_the_bundled_ones_and_its_own_where_it_has_them(
    tmp_path, rubrics, to_grade
):
    asked = to_grade(3)
    assert Rubrics(tmp_path).messages(asked, PAIRWISE) == rubrics.messages(asked, PAIRWISE)
    shutil.copytree(BUNDLED / "rubrics", tmp_path / "rubrics")
    (tmp_path / "rubrics" / "pairwise.jinja").write_text("[[user]]\nA\n[[clip]]\nB\n[[clip]]\n")
    found = Rubrics(tmp_path).messages(asked, PAIRWISE)
    assert found == [{"role": "user", "content": "A\n[[clip]]\nB\n[[clip]]"}]
    (tmp_path / "rubrics" / "pairwise.jinja").write_text("[[user]]\nA\n[[clip]]\n")
    with pytest.raises(InvalidInput, match=r"pairwise\.jinja has 1 lines \[\[clip\]\] and needs 2"):
        Rubrics(tmp_path)
    (tmp_path / "rubrics" / "pairwise.jinja").unlink()
    with pytest.raises(InvalidInput, match=r"pairwise\.jinja: .*missing"):
        Rubrics(tmp_path)


def test_rubrics_are_no_part_of_what_prompts_are_known_by(tmp_path):
    folder = shutil.copytree(BUNDLED, tmp_path / "prompts")
    before = load_prompts(folder, "full").digest
    shutil.rmtree(folder / "rubrics")
    assert load_prompts(folder, "full").digest == before
