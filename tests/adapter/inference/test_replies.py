"""What a model wrote, taken apart; and what it may be told of feelings."""

import pytest

from corpus.adapter.inference.conditions import Condition, conditions_of
from corpus.adapter.inference.language_model import stop_ids
from corpus.adapter.inference.replies import ReplyReader
from corpus.adapter.inference.told_affect import affect_as_given, affect_of_point
from corpus.adapter.prompt_template import BARE, prompt
from corpus.adapter.text_tokenizer import load_tokenizer
from corpus.errors import InvalidInput

CODES = 200
"""Of the decoder here; the tokenizer has 256."""


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return load_tokenizer(tiny / "base")


@pytest.fixture(scope="module")
def read(tokenizer):
    reader = ReplyReader(tokenizer, CODES, stop_ids(tokenizer))

    def read(text):
        return reader.read(tokenizer(text, add_special_tokens=False)["input_ids"])

    return read


@pytest.mark.parametrize(
    ("written", "status", "text", "tokens", "speakable"),
    [
        ("So good.\n<|audio_3|><|audio_199|><|user|>", "ok", "So good.", [3, 199], True),
        ("So good.\n<|audio_3|>", "no_stop", "So good.", [3], True),
        ("So good.", "no_stop", "So good.", [], False),
        ("So good.<|user|>", "no_audio", "So good.", [], False),
        ("<|audio_3|><|endoftext|>", "ok", "", [3], True),
        ("So.<|audio_3|> good<|user|>", "out_of_range", "So. good", [3], True),
        ("So.<|audio_200|><|user|>", "out_of_range", "So.", [200], False),
        ("", "no_stop", "", [], False),
    ],
)
def test_a_response_is_taken_apart_and_has_a_status(read, written, status, text, tokens, speakable):
    reply = read(written)
    assert (reply.status, reply.text, reply.tokens) == (status, text, tokens)
    assert reply.speakable == speakable


def test_a_tokenizer_without_speech_tokens_is_refused(tokenizer):
    class Plain:
        def get_vocab(self):
            return {"a": 0}

    with pytest.raises(InvalidInput, match="has no tokens <|audio_0|>"):
        ReplyReader(Plain(), CODES, [])


def test_the_prompt_tells_a_point_that_none_is_known_or_nothing():
    assert "Please respond in English. User emotion (valence=-0.60, arousal=0.30)\n" in prompt(
        [1], (-0.6, 0.3)
    )
    assert "Please respond in English. User emotion N/A\n" in prompt([1], None)
    assert "Please respond in English.\n" in prompt([1], BARE)


def test_conditions_say_what_is_told():
    affect, none, bare, noisy = conditions_of(["affect", "none", "bare"], [0.3])
    assert affect.affect(0.25, -1.0, 1) == (0.25, -1.0)
    assert none.affect(0.25, -1.0, 1) is None
    assert bare.affect(0.25, -1.0, 1) == BARE
    valence, arousal = told = noisy.affect(0.25, -1.0, 1)
    assert noisy.name == "affect~0.3"
    assert -1 <= arousal <= 1
    assert valence != 0.25
    assert told == noisy.affect(0.25, -1.0, 1) != noisy.affect(0.25, -1.0, 2)
    assert conditions_of([], []) == [Condition("affect")]
    assert conditions_of([], [], [0.5])[0].affect(-0.75, 0.9, 0) == (-0.38, 0.45)
    assert conditions_of([], [], [0.0])[0].name == "affect*0"


@pytest.mark.parametrize("sigma", [0.0, -0.1, float("nan"), 2.5])
def test_a_sigma_that_is_none_is_refused(sigma):
    with pytest.raises(InvalidInput, match="--scale"):
        conditions_of([], [], [abs(sigma) + 1.0])
    with pytest.raises(InvalidInput, match="--noise"):
        conditions_of([], [sigma])


def test_affect_is_a_point_an_emotion_or_what_a_classifier_believes():
    assert affect_as_given(None, None, None) is None
    assert affect_as_given("-0.6,0.3", None, None) == (-0.6, 0.3)
    sad, tired = affect_as_given(None, "sad", None), affect_as_given(None, "tired", None)
    mixed = affect_as_given(None, None, '{"sad": 0.5, "tired": 0.5}')
    assert mixed == pytest.approx([(s + t) / 2 for s, t in zip(sad, tired, strict=True)])


@pytest.mark.parametrize(
    "given",
    [
        ("1", None, None),
        ("a,b", None, None),
        ("0,1.5", None, None),
        ("nan,0", None, None),
        (None, "sorrowful", None),
        (None, None, '{"sad": 0.5}'),
        (None, None, '{"sorrowful": 1}'),
        (None, None, '{"sad": "much"}'),
        (None, None, "[1]"),
        (None, None, "sad"),
        ("0,0", "sad", None),
    ],
)
def test_what_says_no_affect_is_a_sentence(given):
    with pytest.raises(InvalidInput) as caught:
        affect_as_given(*given)
    assert str(caught.value).endswith((".", "'", "0.3"))


@pytest.mark.parametrize("point", [(None, 0), (True, 0), ("0", 0), (0, float("inf"))])
def test_a_coordinate_is_a_number_of_the_plane(point):
    with pytest.raises(InvalidInput, match="number from -1 to 1"):
        affect_of_point(*point)
