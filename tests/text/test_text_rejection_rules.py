"""What is refused and by which name, that ordinary English passes, and what a recipe may change."""

import time

import pytest

from corpus.errors import InvalidInput
from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import BUNDLED, load_prompts
from corpus.plan.rules import Rules
from corpus.text.wording.cleaning import clean
from corpus.text.wording.text_rejection_rules import KEY, QUERY_RULES, RESPONSE_RULES
from corpus.text.wording.text_rules import TextRules
from corpus.text.wording.utterance import Utterance

LISTS = load_prompts(BUNDLED, "full").rules
QUERIES, RESPONSES = Rules(QUERY_RULES, {}, KEY), Rules(RESPONSE_RULES, {}, KEY)
QUERY = "My train was cancelled again, so how do I get to work on time tomorrow?"
RESPONSE = (
    "Missing the start of the day like that wears anyone down. "
    "Take the bus at half past seven, since it runs even when the line is closed. "
    "Ask for the fare back tonight, while you still have the ticket."
)


def of_query(text, **more):
    return QUERIES.judge(Utterance(clean(text), LISTS, **more)).reason


def of_response(text, **more):
    return RESPONSES.judge(Utterance(clean(text), LISTS, **{"query": QUERY, **more})).reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("<think>They want to know about", "unclosed_thinking"),
        ("I'm so sorry to hear that. Which pasta would you like tonight?", "wrong_party"),
        ("Hello there, how can I help you with your pasta today?", "wrong_party"),
        ("What about pasta?", "too_short"),
        ("Here is a question about pasta: how long does it boil?", "meta_opening"),
        ("Sure! How long do I boil pasta for two?", "meta_opening"),
        ("Certainly, how long do I boil pasta?", "meta_opening"),
        ("User: how long do I boil pasta?", "role_label"),
        ("How long do I boil it? Assistant: ten minutes.", "role_label"),
        ("*sighs* How long do I have to wait?", "stage_direction"),
        ("(laughing) How long do I have to wait?", "stage_direction"),
        ("How long will it take, [name], to get there?", "stage_direction"),
        ("# How long do I boil pasta?", "markdown"),
        ("How long do I `boil` ```pasta``` for two?", "markdown"),
        ("Things to ask:\n- how long\n- how hot.", "list"),
        ("Things to ask:\n1. How long?\n2. How hot?", "list"),
        ("How do I say hello as 你好 in a mail?", "non_english"),
        ("Как мне сварить макароны?", "non_english"),
        ("Wie lange muss ich die Nudeln kochen?", "non_english"),
        ("Je suis fatigué, que dois-je manger ce soir ?", "non_english"),
        ("Estoy muy cansado hoy, no sé qué hacer.", "non_english"),
        ("Quero comprar um carro novo este ano.", "non_english"),
        ("Vorrei una pizza con il salame, per favore.", "non_english"),
        ("Can you open https://example.org for me?", "unspeakable"),
        ("Can you mail me at me@example.org today?", "unspeakable"),
        ("What is x = y + 2 then?", "unspeakable"),
        ("How long do I boil the pasta for", "unfinished"),
        ("Is it done yet? I think so. Is it done yet?", "repetition"),
        ("It is so so so so far away.", "repetition"),
        ("What now? Oh no. Not again. I can't.", "sentence_count"),
        ("Tell me, " + "and then again more of it " * 9 + "now.", "repetition"),
        (" ".join(f"word{n}" for n in range(50)) + ".", "too_long"),
    ],
)
def test_a_query_is_refused_by_name(text, reason):
    assert of_query(text) == reason


@pytest.mark.parametrize(
    "text",
    [
        QUERY,
        "Ugh, gross, what is that?",
        "Oh wow! No way! How did this get here?",
        "No, no, no, where are my keys?",
        "Find me a recipe for gazpacho or paella!",
        "Hm, pasta carbonara or risotto tonight?",
        "Book a hotel in Barcelona, please.",
        "Order sushi, tempura and ramen.",
        "Where do I get a good crème brûlée or jalapeños?",
        "I'm so done, man. What's the quickest dinner ever?",
        "Is Dr. Smith in at 5 p.m. today? And Mrs. Jones?",
        "Here and there it leaks, how do I fix it?",
        "I have one question: when does it open?",
        "Surely there is a bus at 7:30?",
        "I love this sofa (the green one) so much! Should I buy it?",
    ],
)
def test_ordinary_english_passes_as_a_query(text):
    assert of_query(text) is None


def test_a_neutral_query_has_no_exclamation_and_no_emotional_word():
    assert of_query("How long does pasta boil!", neutral=True) == "exclamation"
    assert of_query("I hate this, how long does pasta boil?", neutral=True) == "emotion_word"
    assert of_query("I'm FED UP, how long does pasta boil?", neutral=True) == "emotion_word"
    for plain in (
        "Which glove size do I need for my madras curry?",  # holds "love" and "mad" inside words
        "How hard is it to like fine print, please?",
        "What is the best way to store crystal glasses?",
    ):
        assert of_query(plain, neutral=True) is None


def test_an_example_of_the_prompt_is_not_a_query():
    shown = ("How do I stop a door hinge from squeaking?",)
    assert of_query("How do I stop a door hinge from squeaking?", shown=shown) == "copies_example"
    assert of_query("So how do I stop a door hinge from squeaking?", shown=shown)
    assert of_query("How do I paint a door without a brush?", shown=shown) is None


def test_a_response_has_two_to_six_sentences():
    sentences = [f"Step {name} is simple." for name in ("one", "two", "three", "four")]
    sentences += ["Then you wait.", "Have some tea.", "Call me later."]
    for count in range(1, 8):
        reason = None if 2 <= count <= 6 else "sentence_count"
        assert of_response(" ".join(sentences[:count])) == reason
    long = " ".join(f"word{n}" for n in range(80))
    assert of_response(f"{long}. {long.replace('w', 'l')}.") == "too_long"


def test_a_response_neither_repeats_the_query_nor_itself():
    assert of_response(RESPONSE) is None
    assert of_response(f"{QUERY} That is a good thing to ask.") == "copies_query"
    assert of_response(f"{RESPONSE} {RESPONSE}") == "repetition"
    looped = "You can go to the store now. So you can go to the store and buy it."
    assert of_response(looped) == "repetition"
    assert of_response(RESPONSE, shown=(RESPONSE,)) == "copies_example"


def test_one_of_the_required_words_must_occur_as_a_word():
    words = ("rest", "worn out")
    assert of_response(RESPONSE, required_words=words) == "missing_required_word"
    assert of_response(f"{RESPONSE} The forest waits.", required_words=words) is not None
    assert of_response(f"{RESPONSE} Now REST a while.", required_words=words) is None
    assert of_response(f"{RESPONSE} You are worn out.", required_words=words) is None


def test_opening_words_are_barred_from_the_first_sentence_only():
    opening = ("wistful",)
    assert of_response(f"You sound wistful. {RESPONSE}", opening_words=opening) == "named_emotion"
    assert of_response(f"{RESPONSE} It is fine to be wistful.", opening_words=opening) is None


def test_rules_cost_under_a_millisecond():
    of_response(RESPONSE)  # loads the language model
    start = time.process_time()
    for _ in range(200):
        of_response(RESPONSE)
    assert (time.process_time() - start) / 200 < 1e-3


def as_set(*settings):
    """The rules as a recipe has them, and a slot of each kind to judge by."""
    blueprint = Blueprint.named("demo", [f"text.rules.{setting}" for setting in settings])
    rules, query = TextRules(blueprint), next(blueprint.plan.queries())
    pair = next(blueprint.plan.pairs_of(query))
    return lambda text: rules.query(query, text), lambda text: rules.response(pair, QUERY, text)


def test_a_recipe_sets_limits_for_both_or_for_one():
    for settings, on_query, on_response in (
        (("too_long=10",), "too_long", "too_long"),
        (("query_too_long=10",), "too_long", None),
        (("response_too_long=10",), None, "too_long"),
        (("too_long=10", "response_too_long=60"), "too_long", None),
        (("too_short=20",), "too_short", None),
        (("response_repetition=0",), None, "repetition"),
        (("response_sentence_count=0",), None, "sentence_count"),
    ):
        query, response = as_set(*settings)
        assert query(QUERY).reason == on_query, settings
        assert response(RESPONSE).reason == on_response, settings


def test_a_rule_that_is_off_lets_through_and_the_next_is_asked():
    text = "Sure! How long do I boil pasta for"
    assert as_set()[0](text).reason == "meta_opening"
    assert as_set("meta_opening=false")[0](text).reason == "unfinished"
    verdict = as_set("meta_opening=false", "unfinished=false")[0](text)
    assert (verdict.reason, verdict.reported) == (None, ())


def test_a_rule_that_reports_keeps_what_breaks_it_and_says_so_once():
    query, _ = as_set('meta_opening="report"', 'non_english="report"')
    assert query("Sure! How long do I boil pasta?").reported == ("meta_opening",)
    verdict = query("Wie lange muss ich die Nudeln \u010dekat?")
    assert verdict.reported == ("non_english",)
    assert query("Как мне варить макароны?").reported == ("non_english",)


def test_what_the_builtin_voice_cannot_speak_is_refused_whatever_is_set():
    query, _ = as_set("unspeakable=false", "non_english=false")
    assert query("What is x = y + 2 then?").reason is None
    assert query("How do I say 你好 to them?").reason == "unspeakable"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("to_long=9", r"text\.rules\.to_long: there is no such rule; empty, .*too_long"),
        ("response_emotion_word=false", "there is no such rule"),
        ("markdown=1", "the rule has no limit; it can be turned off with false"),
    ],
)
def test_a_setting_that_no_rule_takes_is_refused(setting, says):
    with pytest.raises(InvalidInput, match=says):
        as_set(setting)


@pytest.mark.parametrize("registry", [QUERY_RULES, RESPONSE_RULES])
def test_every_rule_says_what_it_is_and_in_which_unit(registry):
    assert all(rule.about.endswith(".") for rule in registry)
    assert all(bool(rule.unit) == (rule.limit is not None) for rule in registry)
