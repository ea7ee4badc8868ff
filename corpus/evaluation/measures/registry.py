"""Every measure, in the order in which it is shown. A new one is a module and a line here."""

from collections.abc import Iterable

from corpus.errors import InvalidInput
from corpus.evaluation.measures import (
    diversity,
    intelligibility,
    invariance,
    naturalness,
    prosody,
    recoverability,
)
from corpus.evaluation.measures.measure import Measure
from corpus.plan.user_input import one_line

MEASURES: tuple[Measure, ...] = (
    prosody.MEASURE,
    invariance.MEASURE,
    intelligibility.MEASURE,
    naturalness.MEASURE,
    recoverability.MEASURE,
    diversity.MEASURE,
)
JUDGE = "judge"
"""What is asked of servers, where `evaluation.judge.model` names one."""
NAMES = (*(measure.name for measure in MEASURES), JUDGE)


def chosen(names: Iterable[str]) -> list[str]:
    """The names of the measures that are asked for, in their order; all where none is named.

    Raises:
        InvalidInput: there is no such measure.
    """
    asked = list(names)
    for name in asked:
        if name not in NAMES:
            raise InvalidInput(
                f"--metrics: there is no measure '{one_line(name)}'; {', '.join(NAMES)} are."
            )
    return [name for name in NAMES if name in asked or not asked]
