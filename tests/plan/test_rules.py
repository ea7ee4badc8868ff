"""What all rules have in common, whatever they judge."""

import pytest

from corpus.plan.rules import Rule


@pytest.mark.parametrize(
    ("limit", "least", "far", "near", "beyond"),
    [
        (0.25, False, 0.01, 0.2, 0.3),  # at most so much
        (0.1, True, 5.0, 0.15, 0.05),  # at least so much
        (-50.0, True, -15.0, -40.0, -60.0),  # decibels, at least
        (-20.0, False, -90.0, -25.0, -10.0),  # decibels, at most
    ],
)
def test_the_way_to_a_limit_is_a_share_whatever_its_sign_and_side(limit, least, far, near, beyond):
    rule = Rule("some", float, "", limit, least=least)
    assert 0 < rule.nearness(far, limit) < 0.5 < rule.nearness(near, limit) < 1
    assert rule.nearness(limit, limit) == rule.nearness(beyond, limit) == 1
    assert rule.nearness(0.0, limit) in (0, 1)


def test_of_a_rule_without_a_limit_something_is_there_or_far_away():
    rule = Rule("some", bool, "")
    assert (rule.nearness(True, None), rule.nearness(False, None)) == (1, 0)
