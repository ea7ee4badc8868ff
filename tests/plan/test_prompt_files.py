"""A prompts folder that cannot be used is refused in one sentence that names the thing."""

import shutil

import pytest
import yaml

from corpus.errors import InvalidInput
from corpus.plan.prompt_files import BUNDLED, load_prompts, template_sets


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "prompts"
    shutil.copytree(BUNDLED, copy)
    return copy


def change(folder, name, edit):
    path = folder / name
    data = yaml.safe_load(path.read_text())
    edit(data)
    path.write_text(yaml.safe_dump(data, sort_keys=False))


def refused(folder, template_set="full"):
    with pytest.raises(InvalidInput) as caught:
        load_prompts(folder, template_set)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_copy_of_the_bundled_folder_loads_with_the_same_digest(folder):
    for name in template_sets(folder):
        assert load_prompts(folder, name).digest == load_prompts(BUNDLED, name).digest


def test_the_digest_covers_words_and_the_templates_in_use(folder):
    full, small = load_prompts(folder, "full").digest, load_prompts(folder, "small").digest
    template = folder / "templates" / "small" / "neutral_query.jinja"
    template.write_text(template.read_text() + " ")
    assert load_prompts(folder, "full").digest == full
    assert load_prompts(folder, "small").digest != small
    change(folder, "anchors.yaml", lambda data: data["anchors"][0].update(goal="another goal"))
    assert load_prompts(folder, "full").digest != full


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda anchor: anchor.update(valence=1.4), ("anchor 'happy': valence: ", "1.4")),
        (lambda anchor: anchor.update(arousal="high"), ("anchor 'happy': arousal: ", "high")),
        (lambda anchor: anchor.pop("goal"), ("anchor 'happy': goal: ", "missing")),
        (lambda anchor: anchor.update(colour="red"), ("anchor 'happy': colour: ", "unknown")),
        (
            lambda anchor: anchor.update(name="Very Happy"),
            ("anchor 'Very Happy': name: ", "Very Happy"),
        ),
        (lambda anchor: anchor.update(feeling=" "), ("anchor 'happy': feeling: ",)),
        (lambda anchor: anchor.update(cues=[]), ("anchor 'happy': cues: ",)),
        (lambda anchor: anchor["examples"].pop() and anchor["examples"].pop(), ("examples",)),
        (lambda anchor: anchor["response_delivery"].update(arousal=-2), ("arousal", "-2")),
    ],
)
def test_a_bad_anchor_is_named_with_its_field(folder, edit, named):
    change(folder, "anchors.yaml", lambda data: edit(data["anchors"][0]))
    message = refused(folder)
    assert "anchors.yaml" in message
    assert all(part in message for part in named)


def test_two_anchors_may_not_be_alike(folder):
    def same_point(data):
        first, second = data["anchors"][:2]
        second.update(valence=first["valence"], arousal=first["arousal"])

    change(folder, "anchors.yaml", same_point)
    assert "'happy' and 'excited' lie at the same point" in refused(folder)
    change(folder, "anchors.yaml", lambda data: data["anchors"][1].update(name="happy", arousal=0))
    assert "two anchors are named 'happy'" in refused(folder)


def test_an_alias_must_name_an_anchor(folder):
    change(folder, "anchors.yaml", lambda data: data["aliases"].update(bliss="blissful"))
    message = refused(folder)
    assert "bliss" in message
    assert "not an anchor" in message


def test_a_topic_may_not_come_twice(folder):
    change(folder, "topics.yaml", lambda data: data["groups"]["food"].append("cooking pasta"))
    message = refused(folder)
    assert "topics.yaml" in message
    assert "cooking pasta" in message


def test_a_key_given_twice_is_no_silent_winner(folder):
    path = folder / "topics.yaml"
    path.write_text(path.read_text() + "  food:\n    - eating soup\n")
    message = refused(folder)
    assert "topics.yaml" in message
    assert "'food' is given twice" in message


def test_text_that_is_no_yaml_is_refused(folder):
    (folder / "rules.yaml").write_text("meta_openings: [")
    assert "rules.yaml cannot be read" in refused(folder)


@pytest.mark.parametrize("name", ["anchors.yaml", "topics.yaml", "rules.yaml"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert f"{name} is missing" in refused(folder)


def test_a_missing_template_is_named(folder):
    (folder / "templates" / "full" / "neutral_response.jinja").unlink()
    assert "neutral_response.jinja" in refused(folder)
    load_prompts(folder, "small")


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("[[system]]\nBe kind.\n[[user]]\n{{ mood }}", "'mood' is undefined"),
        ("[[system]]\nBe kind.\n[[user]]\n{{ anchor.shade }}", "shade"),
        ("[[system]]\nBe kind.\n[[user]]\n{% for %}", "full/emotional_query.jinja"),
        ("Be kind.\n[[user]]\n{{ topic }}", "must begin with"),
        ("[[system]]\nBe kind about {{ topic }}.", "must end with a [[user]]"),
        ("[[system]]\n[[user]]\n{{ topic }}", "empty [[system]]"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_named(folder, template, named):
    path = folder / "templates" / "full" / "emotional_query.jinja"
    path.write_text(template)
    message = refused(folder)
    assert "emotional_query.jinja" in message
    assert named in message


def test_an_unknown_template_set_names_those_there_are(folder):
    assert "it has full, small" in refused(folder, "large")


def test_a_missing_folder_is_named(tmp_path):
    assert "nowhere does not exist" in refused(tmp_path / "nowhere")
