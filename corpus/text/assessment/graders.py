"""The models that are shown each pair that the rules let through: first a guard, then a judge.

Each is asked with the pair's own words, so its answer is in the store under them, and a run that is
continued does not ask again. One that answers in another form is asked again with another seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from corpus.judge.readable_answers import UNREADABLE
from corpus.plan.blueprint import Blueprint
from corpus.plan.subsets.subset import Exchange
from corpus.servers.chat_requests import ChatAnswer, ChatRequest
from corpus.text.assessment import llm_guard, llm_judge
from corpus.text.assessment.llm_judge import Grades
from schemas.slots import PairSlot


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a model says of a pair: the reason to refuse it, if it has one, and a judge's grades."""

    reason: str | None
    grades: Grades | None = None


@dataclass(frozen=True, slots=True)
class Grader:
    """A model that is shown pairs.

    Attributes:
        says: what it gives, for errors to name.
        unreadable: the reason of a pair about which it never answers in its form.
        request: what it is asked about a pair, its query and its response, for the n-th time, given
            what was said before.
        read: its opinion; None where an answer has none.
    """

    says: str
    unreadable: str
    request: Callable[[PairSlot, str, str, int, Sequence[Exchange]], ChatRequest]
    read: Callable[[ChatAnswer], Opinion | None]


def graders(blueprint: Blueprint) -> list[Grader]:
    """The models that a recipe has pairs shown to, in the order in which they are asked."""
    llm = blueprint.recipe.llm

    def by_guard(answer: ChatAnswer) -> Opinion | None:
        safe = llm_guard.read_safety(answer)
        return None if safe is None else Opinion(None if safe else llm_guard.UNSAFE)

    def by_judge(answer: ChatAnswer) -> Opinion | None:
        grades = llm_judge.read_grades(answer)
        return None if grades is None else Opinion(grades.problem(llm.judge.threshold), grades)

    guard = Grader(
        "the guard's word on",
        llm_guard.UNREADABLE,
        partial(llm_guard.guard_request, blueprint),
        by_guard,
    )
    judge = Grader(
        "the grades of",
        UNREADABLE,
        partial(llm_judge.judge_request, blueprint),
        by_judge,
    )
    return [*([guard] if llm.guard.model else []), *([judge] if llm.judge.model else [])]


def remedy(reason: str) -> str | None:
    """What to do where a model refuses most, as an order; None where it was no model."""
    return llm_guard.remedy(reason) or llm_judge.remedy(reason)
