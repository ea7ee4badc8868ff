"""The bundled prompts hold the published facts, and their own examples obey the text rules."""

import pytest

from corpus.plan.prompt_files import BUNDLED, load_prompts, template_sets
from corpus.plan.rules import Rules
from corpus.text.wording.cleaning import clean
from corpus.text.wording.text_rejection_rules import KEY, QUERY_RULES, RESPONSE_RULES
from corpus.text.wording.utterance import Utterance

# As published with Sympatheia: valence, arousal, query style, response style.
PUBLISHED = {
    "happy": (0.85, 0.35, "Very happy", "Cheerful, warm, upbeat"),
    "excited": (0.75, 0.90, "Very excited", "Upbeat, bright, lively"),
    "content": (0.60, -0.20, "Very content", "Warm, gentle, satisfied"),
    "relaxed": (0.25, -0.60, "Very relaxed", "Calm, chill, soothing"),
    "surprised": (0.10, 0.80, "Very surprised", "Curious, bright, attentive"),
    "neutral": (0.00, 0.00, "Neutral", "Neutral, clear, friendly"),
    "tired": (-0.15, -0.75, "Very tired", "Low energy, slow, gentle"),
    "anxious": (-0.40, 0.65, "Very anxious", "Soft, soothing, steady"),
    "disgusted": (-0.82, -0.20, "Very disgusted", "Calm, brief, slightly distanced"),
    "sad": (-0.75, -0.65, "Very sad", "Warm, gentle, reassuring"),
    "frustrated": (-0.80, 0.35, "Very frustrated", "Calm, patient, steady"),
    "angry": (-0.85, 0.85, "Very angry", "Calm, firm, controlled"),
}
ALIASES = {"joy": "happy", "happiness": "happy", "fear": "anxious", "contempt": "disgusted"}
FULL = load_prompts(BUNDLED, "full")
SETS = template_sets(BUNDLED)
ANCHORS = pytest.mark.parametrize("anchor", FULL.anchors, ids=lambda anchor: anchor.name)
EACH_SET = pytest.mark.parametrize("prompts", [load_prompts(BUNDLED, name) for name in SETS])


def query_problem(text, **more):
    return Rules(QUERY_RULES, {}, KEY).judge(Utterance(text, FULL.rules, **more)).reason


def response_problem(text, **more):
    return Rules(RESPONSE_RULES, {}, KEY).judge(Utterance(text, FULL.rules, **more)).reason


def text_of(messages):
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def common_prefix(texts):
    first, last = min(texts), max(texts)
    same = (n for n, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1])
    return first[: next(same, min(len(first), len(last)))]


def test_the_anchors_are_the_published_twelve_in_order():
    held = {
        anchor.name: (anchor.valence, anchor.arousal, anchor.query_style, anchor.response_style)
        for anchor in FULL.anchors
    }
    assert list(held.items()) == list(PUBLISHED.items())
    assert dict(FULL.anchor_file.aliases) == ALIASES
    assert FULL.anchor_file.neutral_query.style == "Neutral"
    point = FULL.anchor_file.neutral_query.delivery
    assert (point.valence, point.arousal) == (0.0, 0.0)


def test_only_two_anchors_need_recognisable_words():
    needy = {anchor.name: anchor.required_words for anchor in FULL.anchors if anchor.required_words}
    assert set(needy) == {"tired", "disgusted"}
    assert {"exhausted", "drained", "rest", "tired"} <= set(needy["tired"])
    assert {"disgust", "disgusting", "gross", "revolting"} <= set(needy["disgusted"])


def test_no_two_responses_are_delivered_alike():
    points = {anchor.response_delivery for anchor in FULL.anchors}
    assert len(points) == len(FULL.anchors)


def test_there_are_ten_topics_in_each_of_twelve_groups():
    groups = FULL.topic_file.groups
    assert (len(groups), {len(topics) for topics in groups.values()}) == (12, {10})
    assert len({topic.lower() for topic in FULL.topics}) == 120


def test_a_neutral_query_may_not_name_any_anchor_that_is_a_feeling():
    feelings = {anchor.name for anchor in FULL.anchors} - {"neutral"}
    assert feelings | set(ALIASES) - {"contempt"} <= set(FULL.rules.emotion_words)


@pytest.mark.parametrize("topic", FULL.topics)
def test_a_topic_can_be_asked_about_without_emotion(topic):
    text = f"What should I know about {topic} this week?"
    assert query_problem(text, neutral=True) is None


@ANCHORS
def test_the_examples_of_an_anchor_obey_the_rules(anchor):
    labels = (anchor.name, *FULL.aliases_of(anchor))
    for example in anchor.examples:
        assert clean(example.query) == example.query
        assert clean(example.response) == example.response
        assert example.topic not in FULL.topics
        plain = anchor.name == "neutral"
        assert query_problem(example.query, neutral=plain) is None
        reason = response_problem(
            example.response,
            query=example.query,
            required_words=anchor.required_words,
            opening_words=labels,
        )
        assert reason is None


def test_the_examples_of_the_neutral_query_obey_the_rules():
    for example in FULL.anchor_file.neutral_query.examples:
        assert query_problem(example.query, neutral=True) is None
        assert response_problem(example.response, query=example.query) is None


@EACH_SET
def test_how_to_answer_changes_responses_and_never_queries(prompts):
    for anchor in prompts.anchors:
        other = anchor.model_copy(
            update={
                "goal": "something else",
                "cues": ("another cue",),
                "avoid": ("another thing",),
                "required_words": ("otherwise",),
            }
        )
        ask = prompts.emotional_query
        assert ask(anchor, "a topic") == ask(other, "a topic")
        for answer in (prompts.emotional_response, prompts.neutral_response):
            assert answer(anchor, "How so?") != answer(other, "How so?")


@ANCHORS
def test_a_full_response_prompt_gives_everything_the_anchor_says(anchor):
    for messages in (
        FULL.emotional_response(anchor, "How so?"),
        FULL.neutral_response(anchor, "How so?"),
    ):
        text = text_of(messages)
        for said in (anchor.feeling, anchor.goal, *anchor.cues, *anchor.avoid):
            assert said in text
        assert ("Use at least one" in text or "use at least one" in text) == bool(
            anchor.required_words
        )
        assert all(word in text for word in anchor.required_words)
        assert text.endswith('"How so?"')


def test_full_prompts_begin_with_what_never_changes():
    asked = [
        text_of(FULL.emotional_query(anchor, topic))
        for anchor in FULL.anchors
        for topic in FULL.topics[:3]
    ]
    assert len(common_prefix(asked)) > 0.7 * max(map(len, asked))
    assert all(
        text.endswith(topic) for text, topic in zip(asked, FULL.topics[:3] * 12, strict=True)
    )
    plain = [text_of(FULL.neutral_query(topic)) for topic in FULL.topics]
    assert len(common_prefix(plain)) > 0.9 * max(map(len, plain))
    for answer in (FULL.emotional_response, FULL.neutral_response):
        everyone = [text_of(answer(anchor, "How so?")) for anchor in FULL.anchors]
        assert len(common_prefix(everyone)) > 0.5 * max(map(len, everyone))
        same_anchor = [text_of(answer(FULL.anchors[0], query)) for query in ("How so?", "And?")]
        assert common_prefix(same_anchor).endswith('What they said: "')


def test_small_prompts_show_examples_as_turns_and_end_with_the_request():
    small = load_prompts(BUNDLED, "small")
    for anchor in small.anchors:
        for messages, request in (
            (small.emotional_query(anchor, "a lost glove"), "a lost glove"),
            (small.emotional_response(anchor, "Where is it?"), "Where is it?"),
            (small.neutral_response(anchor, "Where is it?"), "Where is it?"),
        ):
            roles = [message["role"] for message in messages]
            assert roles == ["system", *["user", "assistant"] * (len(roles) // 2 - 1), "user"]
            assert len(roles) >= 6
            assert "\n" not in messages[0]["content"]
            assert request in messages[-1]["content"]
