"""What may refuse: the one shape of a rule, whatever it judges, and what a recipe makes of it.

A registry is a list of rules in the order in which they are asked; the first that is broken gives
the reason. A recipe may set a rule's limit, turn it off, or have it only report: then what breaks
it is counted and kept. Verdicts follow from measures, so a changed limit asks for nothing anew.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from corpus.errors import InvalidInput
from schemas.recipe import RuleSetting

Subject = TypeVar("Subject")

REPORT = "report"


@dataclass(frozen=True, slots=True)
class Rule(Generic[Subject]):
    """One reason to refuse.

    Attributes:
        name: what refusals, recipes and docs call it.
        measure: what is measured of what is judged; True or False where there is no number.
        about: what a person should know of it: what it finds, and why the limit is where it is.
        limit: the most that is let through, or with `least` the least; None where it is yes or no,
            and True is refused.
        least: whether the limit is a least.
        unit: of the limit.
        fixed: whether a recipe has no say, because what breaks the rule cannot be kept at all.
    """

    name: str
    measure: Callable[[Subject], float]
    about: str
    limit: float | None = None
    least: bool = False
    unit: str = ""
    fixed: bool = False

    def breaks(self, subject: Subject, limit: float | None) -> bool:
        """Whether something breaks the rule at a limit."""
        found = self.measure(subject)
        if limit is None:
            return bool(found)
        return found < limit if self.least else found > limit

    def nearness(self, subject: Subject, limit: float | None) -> float:
        """How far something is on its way to a limit, from 0 to 1, which is at it or beyond."""
        if self.breaks(subject, limit):
            return 1.0
        found = float(self.measure(subject))
        if not limit or not found or (found > 0) != (limit > 0):
            return 0.0
        return limit / found if self.least == (limit > 0) else found / limit


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rule that refuses, if any does, and those that would but only report."""

    reason: str | None
    reported: tuple[str, ...] = ()


class Rules(Generic[Subject]):
    """A registry as a recipe has it.

    Args:
        registry: every rule, in the order in which they are asked.
        settings: what the recipe says of some of them, by name.
        key: the recipe's key that holds the settings, for errors to name.

    Attributes:
        key: as given.

    Raises:
        InvalidInput: there is no such rule, it cannot be changed, or it has no limit to be set.
    """

    def __init__(
        self,
        registry: Sequence[Rule[Subject]],
        settings: Mapping[str, RuleSetting],
        key: str,
    ) -> None:
        self.key = key
        known = {rule.name: rule for rule in registry}
        for name, setting in settings.items():
            if name not in known:
                raise InvalidInput(f"{key}.{name}: there is no such rule; {', '.join(known)} are.")
            if known[name].fixed:
                raise InvalidInput(
                    f"{key}.{name}: the rule cannot be changed, for what breaks it cannot be kept; "
                    "leave the key out."
                )
            if isinstance(setting, float) and known[name].limit is None:
                raise InvalidInput(
                    f"{key}.{name} = {setting}: the rule has no limit; it can be turned off with "
                    f'false, or be told to "{REPORT}".'
                )
        self._asked: list[tuple[Rule[Subject], float | None, bool]] = []
        for rule in registry:
            said = settings.get(rule.name)
            if said is not False:
                limit = said if isinstance(said, float) else rule.limit
                self._asked.append((rule, limit, said == REPORT))

    def asks(self, name: str) -> bool:
        """Whether a rule of that name is asked, so that what it measures has to be known."""
        return any(rule.name == name for rule, _, _ in self._asked)

    def judge(self, subject: Subject, only: str | None = None) -> Verdict:
        """The first rule that something breaks; rules that only report are all looked at.

        Args:
            subject: what is judged.
            only: the one rule to ask, where the others have been.
        """
        reported: list[str] = []
        for rule, limit, only_reports in self._asked:
            if only not in (None, rule.name) or not rule.breaks(subject, limit):
                continue
            if not only_reports:
                return Verdict(rule.name, tuple(reported))
            if rule.name not in reported:  # one name may be measured in more than one way
                reported.append(rule.name)
        return Verdict(None, tuple(reported))

    def limits(self) -> Iterator[tuple[Rule[Subject], float | None]]:
        """The rules that are not turned off, each with its limit."""
        return ((rule, limit) for rule, limit, _ in self._asked)
