"""What is mended, what is left to be refused, and that nothing is taken away in silence."""

# ruff: noqa: RUF001 - characters that look alike are what cleaning tells apart

import random
import sys
import unicodedata
from itertools import pairwise

import pytest

from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import BUNDLED, load_prompts
from corpus.text.wording.cleaning import clean
from corpus.text.wording.text_rules import TextRules
from corpus.voices.builtin_synthesis import text_problem
from tests.support import sentences

SIGNS = [
    chr(code)
    for code in range(0xA0, sys.maxunicode)
    if unicodedata.category(chr(code)) in {"So", "Sm", "Sk", "Sc", "No", "Nl", "Co", "Cn"}
    and not 0x20000 < code < 0xE0000  # ideographs, and planes with nothing in them
]
INVISIBLE = [chr(c) for c in range(0x80, 0x110000) if unicodedata.category(chr(c)) == "Cf"]
TYPOGRAPHY = [*"–—―‒−‘’“”«»…•·*_-\"'!?,;:()&#", "--", " - ", "\n", "\n- ", "&amp;", "&quot;", "**"]
SPACES = [*"\u00a0\u2002\u2007\u2009\u200a\u202f\u205f\u3000\u2028\t", "  "]


@pytest.fixture(scope="module")
def verdict():
    """The verdict on a text as a query of the demo."""
    blueprint = Blueprint.named("demo")
    rules, slot = TextRules(blueprint), next(blueprint.plan.queries())
    return lambda text: rules.query(slot, text)


@pytest.mark.parametrize(
    ("raw", "spoken"),
    [
        ("  What time is it?\n", "What time is it?"),
        ("<think>\nThey seem low.\n</think>\n\nIt is noon.", "It is noon."),
        ("They seem low.</think>It is noon.", "It is noon."),
        ('"What time is it?"', "What time is it?"),
        ("“What time is it?”", "What time is it?"),
        ('"No," she said, "not now."', '"No," she said, "not now."'),
        ("I **really** need a _long_ *quiet* break.", "I really need a long quiet break."),
        ("It’s late — too late – for tea…", "It's late, too late, for tea..."),
        ("Soak it for 5–10 minutes.", "Soak it for 5 to 10 minutes."),
        ("A well-known half-day trip.", "A well-known half-day trip."),
        ("But I thought—", "But I thought..."),
        ("We won! 🎉👍🏽 What now? ❤️", "We won! What now?"),
        ("It is 20 °C outside.", "It is 20 °C outside."),
        ("One\u00a0line,\n\nthen  another.", "One line, then another."),
        ("", ""),
        ('"', '"'),
    ],
)
def test_clean_gives_what_is_spoken(raw, spoken):
    assert clean(raw) == spoken


@pytest.mark.parametrize(
    ("raw", "spoken"),
    [
        ("Bake it at 180℃ for an hour.", "Bake it at 180°C for an hour."),
        ("I bought 5㎏ of ﬂour.", "I bought 5kg of flour."),
        ("Go to step № 5, part Ⅳ.", "Go to step No 5, part IV."),
        ("Ｗｈｙ ｎｏｔ？", "Why not?"),
        ("Use Windows™ or a Mac®.", "Use Windows or a Mac."),
        ("How nice 😊, is it done?", "How nice, is it done?"),
        ("Done!🎉What now?", "Done! What now?"),
        ("“So sweet 😊” she said.", '"So sweet" she said.'),
        ("—Honestly, why?", "Honestly, why?"),
        ("“—Honestly, why?”", "Honestly, why?"),
        ("Wait—! How?", "Wait! How?"),
        ("Wait! — How?", "Wait! How?"),
        ("“I thought—” How?", '"I thought..." How?'),
        ("“No!” — that was all.", '"No!" that was all.'),
        ("He said—“No!”", 'He said, "No!"'),
        ("(I thought—) How?", "(I thought...) How?"),
        ("It closes at 5 p.m. — right after.", "It closes at 5 p.m., right after."),
        ("But I thought--", "But I thought..."),
        ("Well,— how?", "Well, how?"),
        ("Call 555–0132 or 1–800–555–0132.", "Call 555-0132 or 1-800-555-0132."),
        ("Call 555—1234 on 2024–05–06.", "Call 555-1234 on 2024-05-06."),
        ("From 2019–2023, 7:30–9:00.", "From 2019 to 2023, 7:30 to 9:00."),
        ("Pay $5–$10, 5%–10%, 800–1200 a year.", "Pay $5 to $10, 5% to 10%, 800 to 1200 a year."),
        ("Open 9am–5pm, 10,000–20,000 people.", "Open 9am to 5pm, 10,000 to 20,000 people."),
        ("It is –5 out, a 10–year low of COVID–19.", "It is -5 out, a 10-year low of COVID-19."),
        ("Tom &amp; Jerry isn&apos;t on &#8211; why?", "Tom & Jerry isn't on, why?"),
        ("Is it AT&T or R&amp;amp;D;?", "Is it AT&T or R&D;?"),
        ("Do I walk 5\u202f000 steps\u202f! How?", "Do I walk 5000 steps! How?"),
        ("« Oh\u00a0! » he said.", '"Oh!" he said.'),
        ("In 2020\u00a0300 people came.", "In 2020 300 people came."),
        ("so \u2060what do I d\u200co?", "so what do I do?"),
        ("Add ½ cup, 1½ cups, 2 ⅔cups.", "Add 1/2 cup, 1 1/2 cups, 2 2/3 cups."),
        ("It is **_so_** far away.", "It is so far away."),
        ("Answer text.\n</think>", "Answer text."),
        ("They seem low.</think>Answer text.</think>", "Answer text."),
        ("<think>They seem low.</think>", ""),
    ],
)
def test_what_can_be_mended_without_guessing_is(raw, spoken):
    assert clean(raw) == spoken


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Where is the ☎ number for the bank?", "unspeakable"),
        ("How do I cook 🍕 in a pan tonight?", "unspeakable"),
        ("How do I tile 20 ㎡ of floor?", "unspeakable"),
        ("Is step ② the right one here?", "unspeakable"),
        ("Is it ≈ 5 or ± 6 today?", "unspeakable"),
        ("I keep having d\ufffdj\ufffd vu about this.", "broken_characters"),
        ("I keep having dÃ©jÃ\u00a0 vu about this.", "broken_characters"),
        ("It isnâ€™t on tonight, is it?", "broken_characters"),
        ("Is \ue000 the sign for this?", "broken_characters"),
        ("Things to ask\n– how long\n– how hot.", "list"),
        ("It is done.\n---\nWhat is next for me?", "markdown"),
    ],
)
def test_what_cannot_be_mended_is_refused_by_name(verdict, text, reason):
    assert verdict(clean(text)).reason == reason


def test_texts_that_were_clean_stay_as_they_are():
    prompts = load_prompts(BUNDLED, "full")
    examples = [e for anchor in prompts.anchors for e in anchor.examples]
    examples += prompts.anchor_file.neutral_query.examples
    texts = [text for e in examples for text in (e.query, e.response)]
    texts += [make(n) for n in range(300) for make in (sentences.query, sentences.response)]
    assert [text for text in texts if clean(text) != text] == []


def test_a_sign_between_words_is_never_taken_away_in_silence(verdict):
    chosen = random.Random(7).sample(SIGNS, 1200)
    lost = []
    for n, sign in enumerate(chosen):
        before, after = sentences.query(n).split(" ", 1)
        spoken = clean(f"{before} {sign} {after}")
        if verdict(spoken).reason is None and len(spoken) <= len(f"{before} {after}"):
            lost.append((f"U+{ord(sign):04X}", spoken))
    assert lost == []


def test_invisible_characters_cost_no_attempt():
    for n, char in enumerate(INVISIBLE):
        text = sentences.query(n)
        assert clean(f"{text[:9]}{char}{text[9:]}{char}") == text, f"U+{ord(char):04X}"


def test_cleaning_ends_and_gives_what_a_voice_can_speak_or_a_rule_refuses(verdict):
    choose = random.Random(11)
    strewn = [*TYPOGRAPHY, *SPACES] * 40 + SIGNS + INVISIBLE * 4
    for n in range(600):
        text = sentences.query(n)
        for _ in range(choose.randrange(1, 6)):
            at = choose.choice((0, len(text), choose.randrange(len(text))))
            text = text[:at] + choose.choice(strewn) + text[at:]
        spoken = clean(text)
        assert clean(spoken) == spoken, ascii(text)
        if verdict(spoken).reason is None:
            assert text_problem(spoken) is None, ascii(text)


def test_a_dash_leaves_no_comma_beside_another_mark():
    choose = random.Random(5)
    for n in range(400):
        text = choose.choice(("{}", '"{}"', "“{}” How so?")).format(sentences.response(n))
        for _ in range(choose.randrange(1, 4)):
            at = choose.choice((0, len(text), text.find(".") + choose.randrange(2)))
            dash = choose.choice(("—", " — ", "–", "--", " -- "))
            text = text[:at] + dash + text[at:]
        spoken = clean(text)
        assert not spoken.startswith(","), text
        beside = {spoken[at : at + 2] for at, char in enumerate(spoken) if char == ","}
        assert all(pair[1] == " " for pair in beside), text
        assert not {".,", "!,", "?,", '",', " ,"} & set(map("".join, pairwise(spoken))), text
