"""The first verdicts of a build: where one rule refuses most of what is made, it stops there.

Else every attempt of every slot would be paid for, to end with the advice to allow more of them.
"""

from collections import defaultdict
from collections.abc import Callable
from textwrap import shorten
from typing import Generic

from corpus.plan.rules import REPORT, Rule, Rules, Subject

FIRST, MOST = 36, 24
"""Of the first three dozen, two dozen refused by one rule: that is no bad luck. A rule that refuses
four in ten, which attempts make good, stops one build in a thousand."""
SHOWN_CHARS = 120
"""Of a text in an error: enough to see what is wrong with it."""


class FirstVerdicts(Generic[Subject]):
    """What became of the first things that servers made in a build.

    Only what is made now counts: what is on file costs nothing more, and a server that was mended
    is not stopped for what it made before. Nor does what an earlier build left open count, once the
    server has shown that it can: of a run that is nearly done, what is refused most is left.

    Args:
        rules: which judge, as the recipe has them.
        made: what is judged, in the plural.
        look: what a person does with one, as an order.
        maker: who is to be mended where the rule is right.
        remedy: an order that says what to do about a reason that is no rule, if it knows one.
    """

    def __init__(
        self,
        rules: Rules[Subject],
        made: str,
        look: str,
        maker: str,
        remedy: Callable[[str], str | None] = lambda reason: None,
    ) -> None:
        self._rules = rules
        self._made, self._look, self._maker = made, look, maker
        self._remedy = remedy
        self._count = 0
        self._begun_before: set[str] = set()
        self._accepted_before = 0
        self._refused: defaultdict[str, list[tuple[Subject, str]]] = defaultdict(list)

    def on_file(self, slot: str, *, accepted: bool) -> None:
        """Takes note of a slot that has something of an earlier build, and whether it is good."""
        if self._count < FIRST:
            self._begun_before.add(slot)
            self._accepted_before += accepted

    def add(self, slot: str, reason: str | None, subject: Subject, where: str) -> None:
        """Counts a verdict, if it is one of the first.

        Args:
            slot: what it was made for.
            reason: the rule that refused; None for what was accepted.
            subject: what was judged.
            where: how a person finds it.
        """
        if slot in self._begun_before and self._accepted_before >= FIRST:
            return
        if self._count < FIRST and self.culprit is None:
            self._count += 1
            if reason:
                self._refused[reason].append((subject, where))

    @property
    def culprit(self) -> str | None:
        """The rule that refused most of them, if one did."""
        return next((name for name, found in self._refused.items() if len(found) >= MOST), None)

    def sentence(self) -> str:
        """What happened, what was measured, what to look at, and the key that changes it."""
        name = self.culprit
        assert name is not None, "there is nothing to say while no rule refuses most"
        found = self._refused[name]
        samples = " and ".join(where for _, where in found[:2])
        known = self._remedy(name)
        # One name may be measured in more than one way.
        of_name = [(rule, at) for rule, at in self._rules.limits() if rule.name == name]
        asked = next((r for r in of_name if r[0].breaks(found[0][0], r[1])), None)
        measured, remedy = "", known or f"Mend {self._maker}"
        if not known and asked and not asked[0].fixed:
            rule, limit = asked
            measured = _measured(rule, limit, [subject for subject, _ in found])
            other = "a number, " if limit is not None else ""
            remedy = (
                f'If they are good, set {self._rules.key}.{name} ({other}false or "{REPORT}"); '
                f"else mend {self._maker}"
            )
        return (
            f"The build stopped, because {name} refused {len(found)} of the first {self._count} "
            f"{self._made}{measured}: {self._look} {samples}. {remedy}, and run the same command "
            "again; everything made is kept."
        )


def _measured(rule: Rule[Subject], limit: float | None, found: list[Subject]) -> str:
    if limit is None:
        return ""
    measured = [rule.measure(subject) for subject in found]
    unit, bound = f" {rule.unit}".rstrip(), "least" if rule.least else "most"
    span = f"{min(measured):.3g} to {max(measured):.3g}{unit}"
    return f" (they have {span}, where {limit:g}{unit} is the {bound})"


def shown_text(slot_id: str, text: str) -> str:
    """How a text is shown to a person who is to look at it."""
    return f'{slot_id} ("{shorten(text, SHOWN_CHARS, placeholder=" ...")}")'
