"""Sentences of many kinds are told apart: those that do harm, and those beside the point."""

from pathlib import Path

import pytest
import yaml

from corpus.errors import InvalidInput
from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import BUNDLED, load_prompts
from corpus.plan.rules import Rules, Verdict
from corpus.run.run_folder import RunFolder
from corpus.text.assessment.closeness import Closeness, judged_by_closeness
from corpus.text.wording.cleaning import clean
from corpus.text.wording.text_rejection_rules import (
    HARMFUL,
    KEY,
    OFF_TOPIC,
    QUERY_RULES,
    RESPONSE_RULES,
)
from corpus.text.wording.utterance import Utterance
from schemas.prompts import Phrases
from tests.support.line import copy_prompts, open_run, shared_embedder

SENTENCES = yaml.safe_load((Path(__file__).parent / "told_rightly.yaml").read_text())
LISTS = load_prompts(BUNDLED, "full").rules
QUERIES, RESPONSES = Rules(QUERY_RULES, {}, KEY), Rules(RESPONSE_RULES, {}, KEY)
ENOUGH = 95


def rules_of(kind):
    return QUERIES if kind == "queries" else RESPONSES


def does_harm(text, kind="responses"):
    return rules_of(kind).judge(Utterance(clean(text), LISTS), only=HARMFUL).reason == HARMFUL


@pytest.fixture(scope="module")
def closeness(tmp_path_factory):
    """The real MiniLM, with the store of a run."""
    blueprint = Blueprint.named("demo")
    with open_run(RunFolder(tmp_path_factory.mktemp("run")), blueprint) as run:
        yield Closeness(shared_embedder(blueprint.recipe.dedup.model), run.store.embeddings)


def refused(closeness, harm, topic):
    """Of the sentences of two parts, whether each is refused."""
    found = [does_harm(text, kind) for kind, texts in SENTENCES[harm].items() for text in texts]
    for kind, pairs in SENTENCES[topic].items():
        cosines = closeness.of_all([(text, about) for about, text in pairs])
        for (_, text), cosine in zip(pairs, cosines, strict=True):
            said = Utterance(text, LISTS)
            verdict = judged_by_closeness(rules_of(kind), said, cosine, Verdict(None))[1]
            found.append(verdict.reason == OFF_TOPIC)
    assert len(found) == 100
    return found


def test_of_a_hundred_bad_sentences_at_least_95_are_refused(closeness):
    assert sum(refused(closeness, "harmful", "off_topic")) >= ENOUGH


def test_of_a_hundred_good_sentences_at_least_95_pass(closeness):
    assert 100 - sum(refused(closeness, "harmless", "on_topic")) >= ENOUGH


@pytest.mark.parametrize(
    "text",
    [
        "You're not stupid, this form is hard for everyone.",
        "They told you to calm down, and that only made it worse.",
        "Nobody should say that you are an idiot.",
        "You don't have to get over it this week.",
    ],
)
def test_what_is_denied_or_reported_is_not_said(text):
    assert not does_harm(text)


def test_doses_and_diagnoses_are_refused_of_responses_alone():
    for text in ("Should I take 400 mg of ibuprofen?", "I think you have the flu, don't you?"):
        assert does_harm(text)
        assert not does_harm(text, "queries")


def test_a_text_whose_closeness_is_not_known_is_not_off_topic():
    assert RESPONSES.judge(Utterance("Some text.", LISTS), only=OFF_TOPIC).reason is None


def test_a_prompts_folder_of_an_earlier_release_finds_no_harm(tmp_path):
    folder = copy_prompts(tmp_path / "prompts")
    rules = yaml.safe_load((folder / "rules.yaml").read_text())
    del rules["harmful"]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    lists = load_prompts(folder, "full").rules
    assert lists.harmful == Phrases()
    assert RESPONSES.judge(Utterance("You are an idiot.", lists), only=HARMFUL).reason is None


@pytest.mark.parametrize(
    ("phrase", "says"),
    [
        ("you <fools>", "'you <fools>' names words that there are not: 'fools'"),
        ("you (fool", r"'you \(fool' has parentheses that do not match"),
        ("you fool)", r"'you fool\)' has parentheses that do not match"),
        ("you ? fool", r"'you \? fool' has a '\?' that does not follow"),
    ],
)
def test_a_phrase_that_cannot_be_read_is_an_error_with_its_place(tmp_path, phrase, says):
    folder = copy_prompts(tmp_path / "prompts")
    rules = yaml.safe_load((folder / "rules.yaml").read_text())
    rules["harmful"]["insults"].append(phrase)
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    with pytest.raises(InvalidInput, match=rf"rules\.yaml: line \d+: harmful: .*{says}"):
        load_prompts(folder, "full")
