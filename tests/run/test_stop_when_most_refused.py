"""When a build is stopped for what one rule refuses, and what it then says."""

from corpus.plan.rules import Rule, Rules
from corpus.run.stop_when_most_refused import FIRST, MOST, FirstVerdicts

SHORT = Rule("short", len, "Too short.", 5, least=True, unit="letters")
ODD = Rule("odd", lambda text: "odd" in text, "Odd.")
STRANGE = (
    Rule("strange", lambda text: float(text.isascii()), "Other letters.", 0.5, least=True),
    Rule("strange", lambda text: text.count("e"), "Few vowels.", 1, least=True, unit="vowels"),
)
GONE = Rule("gone", lambda text: not text, "Gone.", fixed=True)


def first(*verdicts, settings=None):
    rules = Rules([SHORT, ODD, GONE, *STRANGE], settings or {}, "text.rules")
    watch = FirstVerdicts(rules, "texts", "read", "the text server")
    for n, (reason, text) in enumerate(verdicts):
        watch.add(f"slot {n}", reason, text, f"'{text}' ({n})")
    return watch


REFUSED, GOOD, OTHER = ("short", "abc"), (None, "abcdef"), ("odd", "an odd one")


def test_most_of_the_first_few_dozen_is_enough_and_one_less_is_not():
    luck = FIRST - MOST
    assert first(*[GOOD] * luck, *[REFUSED] * MOST).culprit == "short"
    assert first(*[GOOD] * (luck + 1), *[REFUSED] * MOST).culprit is None
    assert first(*[REFUSED] * (MOST - 1), *[OTHER] * (MOST - 1)).culprit is None


def test_what_comes_after_the_first_few_dozen_is_not_counted():
    assert first(*[GOOD] * FIRST, *[REFUSED] * 10 * FIRST).culprit is None


def test_the_sentence_has_rule_measures_limit_two_samples_and_the_key():
    watch = first(REFUSED, *[("short", "abcd")] * (MOST - 1), settings={"short": 5.0})
    assert watch.sentence() == (
        f"The build stopped, because short refused {MOST} of the first {MOST} texts (they have 3 "
        "to 4 letters, where 5 letters is the least): read 'abc' (0) and 'abcd' (1). If they are "
        'good, set text.rules.short (a number, false or "report"); else mend the text server, and '
        "run the same command again; everything made is kept."
    )


def test_a_rule_without_a_limit_and_one_without_a_say_are_told_as_such():
    assert 'set text.rules.odd (false or "report")' in first(*[OTHER] * MOST).sentence()
    for reason in ("gone", "runaway"):
        sentence = first(*[(reason, "")] * MOST).sentence()
        assert "text.rules" not in sentence
        assert "Mend the text server, and run the same command again" in sentence


def test_what_an_earlier_build_left_open_counts_only_until_the_server_has_shown_that_it_can():
    def resumed(accepted):
        watch = first()
        for n in range(accepted):
            watch.on_file(f"full {n}", accepted=True)
        for n in range(MOST):
            watch.on_file(f"slot {n}", accepted=False)
            watch.add(f"slot {n}", *REFUSED, "")
        return watch

    assert resumed(FIRST - 1).culprit == "short"
    assert resumed(FIRST).culprit is None


def test_a_reason_that_is_no_rule_has_a_remedy_of_its_own():
    rules = Rules([SHORT], {}, "text.rules")
    watch = FirstVerdicts(rules, "texts", "read", "the text server", {"cut": "Allow more"}.get)
    for n in range(MOST):
        watch.add(f"slot {n}", "cut", "", f"({n})")
    assert watch.sentence().endswith(
        "read (0) and (1). Allow more, and run the same command again; everything made is kept."
    )


def test_of_two_measures_of_one_name_the_one_that_refused_is_told():
    said = first(*[("strange", "rhythms")] * MOST).sentence()
    assert "(they have 0 to 0 vowels, where 1 vowels is the least)" in said
