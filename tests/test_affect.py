"""The expected point of the valence-arousal plane: hand-computed, and refused where it has none."""

import pytest

from corpus.affect import expected_affect
from corpus.errors import InvalidInput
from corpus.plan.prompt_files import BUNDLED, read_anchors
from tests.support.line import add_anchor, copy_prompts


def test_a_certain_anchor_is_its_own_point():
    for anchor in read_anchors(BUNDLED).anchors:
        assert expected_affect({anchor.name: 1.0}) == (anchor.valence, anchor.arousal)


def test_points_are_weighted_by_their_probabilities():
    found = expected_affect({"happy": 0.5, "sad": 0.25, "angry": 0.25})
    assert found == pytest.approx(
        (0.5 * 0.85 + 0.25 * -0.75 + 0.25 * -0.85, 0.5 * 0.35 + 0.25 * -0.65 + 0.25 * 0.85)
    )


@pytest.mark.parametrize(
    ("label", "anchor"),
    [
        ("joy", "happy"),
        ("happiness", "happy"),
        ("fear", "anxious"),
        ("contempt", "disgusted"),
        ("Sad", "sad"),
        ("HAPPINESS", "happy"),
    ],
)
def test_labels_of_other_datasets_stand_for_their_anchors(label, anchor):
    assert expected_affect({label: 1.0}) == expected_affect({anchor: 1.0})


def test_two_labels_of_one_anchor_add_up():
    both = expected_affect({"joy": 0.3, "happy": 0.3, "sad": 0.4})
    assert both == pytest.approx(expected_affect({"happy": 0.6, "sad": 0.4}))


def test_a_little_off_one_is_a_softmax_in_few_bits():
    assert expected_affect({"happy": 0.502, "sad": 0.502}) == pytest.approx((0.0502, -0.1506))


@pytest.mark.parametrize(
    ("probabilities", "sentence"),
    [
        ({"hangry": 1.0}, "'hangry' is neither an anchor nor an alias .* happy"),
        ({"happy": 1.2, "sad": -0.2}, "probability of 'sad' is -0.2"),
        ({"happy": float("nan")}, "probability of 'happy' is nan"),
        ({"happy": 0.5, "sad": 0.3}, "sum to 0.8; they have to sum to 1"),
        ({"happy": float("inf")}, "sum to inf"),
        ({}, "sum to 0;"),
    ],
)
def test_what_is_no_distribution_over_known_labels_is_refused(probabilities, sentence):
    with pytest.raises(ValueError, match=sentence):
        expected_affect(probabilities)


def test_another_prompts_folder_has_its_own_anchors(tmp_path):
    anchors = read_anchors(copy_prompts(tmp_path / "prompts", add_anchor))
    assert expected_affect({"proud": 1.0}, anchors) == (0.7, 0.5)
    with pytest.raises(ValueError, match="'proud' is neither"):
        expected_affect({"proud": 1.0})
    with pytest.raises(InvalidInput, match="anchors.yaml is missing"):
        read_anchors(tmp_path)
