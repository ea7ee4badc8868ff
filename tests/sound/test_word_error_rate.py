"""Numbers, units, dates and times in every way they are written, compared as they are spoken."""

import pytest

from corpus.sound.word_error_rate import spoken_words, word_error_rate

TEXT = "five kilograms at minus 5 degrees on March 4"


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (TEXT, "5 kg at minus 5 degrees on March 4."),
        (TEXT, "5kg at -5° on March 4th."),
        (TEXT, "Five kilograms at minus five degrees on the fourth of March."),
        (TEXT, "5 kilograms at -5 degrees on 4th March"),
        ("It is -5 °C.", "It's minus five degrees Celsius."),
        ("It costs $3.50 at 7:30 p.m.", "It costs three dollars and fifty cents at 7.30 PM."),
        ("on 3/4/2024", "on March 4, 2024"),
        ("250 ml and 1/2 cup, 20-30 mg", "250 milliliters and one half cup, 20 to 30 milligrams"),
        ("1,200 people at 60 mph", "Twelve hundred people at sixty miles per hour."),
        ("at 10 a.m. on the 21st", "at 10am on the twenty-first"),
        ("the 1990s and 1984", "the nineteen nineties and nineteen eighty-four"),
        ("50% of 2.5 kg", "fifty percent of two point five kilograms"),
        ("I can't pay £20", "I cannot pay twenty pounds."),
    ],
)
def test_what_is_spoken_alike_is_no_error(said, heard):
    assert spoken_words(said) == spoken_words(heard)
    assert word_error_rate(said, heard) == 0.0


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (TEXT, "five kilograms at 5 degrees on March 4"),
        (TEXT, "five pounds at minus 5 degrees on March 4"),
        (TEXT, "five kilograms at minus 5 degrees on March 5"),
        ("at 7:30 p.m.", "at 7:30 a.m."),
    ],
)
def test_another_number_unit_date_or_sign_is_one(said, heard):
    assert word_error_rate(said, heard) > 0.0
