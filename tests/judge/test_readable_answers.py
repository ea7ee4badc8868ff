"""What is read of a judge's answer, and what is not."""

import pytest

from corpus.judge.readable_answers import read_grade, read_preference


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("4|It is warm.", (4, "It is warm.")),
        ("\n  5 |  It could hardly be warmer.  \nAnd more.", (5, "It could hardly be warmer.")),
        ("```\n1|It is cold.\n```", (1, "It is cold.")),
        ("```text\n2 | It is flat.```", (2, "It is flat.")),
        ("On a 1-5 scale I would give it a good mark.", None),
        ("On a 1-5 scale: 4|It is warm.", None),
        ("4/5 | It is warm.", None),
        ("4.5|It is warm.", None),
        ("14|It is warm.", None),
        ("0|It is cold.", None),
        ("6|It is warm.", None),
        ("Rating: 4|It is warm.", None),
        ("**4**|It is warm.", None),
        ("It is warm.\n4|So it is.", None),
        ("N|It is warm.", None),
        ("4|", None),
        ("4", None),
        ("", None),
        ("```", None),
    ],
)
def test_only_a_grade_that_stands_first_is_read(answer, found):
    assert read_grade(answer) == found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("first|It is warmer.", ("first", "It is warmer.")),
        ("Second | It is warmer.", ("second", "It is warmer.")),
        ("```\ntie|Neither is.\n```", ("tie", "Neither is.")),
        ("The first|It is warmer.", None),
        ("firstly|It is warmer.", None),
        ("1|It is warmer.", None),
        ("tie", None),
    ],
)
def test_only_a_preference_that_stands_first_is_read(answer, found):
    assert read_preference(answer) == found
