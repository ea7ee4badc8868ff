"""The one shape of a check before a run, and of what it finds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from corpus.errors import SympatheiaError, in_words
from corpus.plan.blueprint import Blueprint
from schemas.names import STAGES, Stage

Verdict = Literal["passed", "warning", "failed"]
Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class RunAhead:
    """What is about to be done.

    Attributes:
        blueprint: what is to be made; None where no recipe is named, and the machine is all there
            is to look at.
        folder: where the run will keep its work.
        until: the last stage of the run.
        repo_id: the repository on the Hub that the corpus is meant for; empty if none is named.
    """

    blueprint: Blueprint | None = None
    folder: Path = Path("runs")
    until: Stage = STAGES[-1]
    repo_id: str = ""

    @property
    def speaks(self) -> bool:
        """Whether the run comes to the clips."""
        return STAGES.index(self.until) >= STAGES.index("speech")

    @property
    def addresses(self) -> Iterator[tuple[str, str]]:
        """The recipe's servers: the key that lists each, and its address."""
        if self.blueprint is not None:
            recipe = self.blueprint.recipe
            yield from (("llm.endpoints", url) for url in recipe.llm.endpoints)
            yield from (("speech.endpoints", url) for url in recipe.speech.endpoints)
            judge = recipe.speech.judge
            if judge.model:
                yield from ((f"{judge.SECTION}.endpoints", url) for url in judge.endpoints)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a check saw: a verdict, a sentence, and what to do about it if it did not pass."""

    verdict: Verdict
    sentence: str
    remedy: str = ""


def passed(sentence: str) -> Seen:
    """All is well."""
    return Seen("passed", sentence)


def warning(sentence: str, remedy: str) -> Seen:
    """The run can be made, and something about it may surprise."""
    return Seen("warning", sentence, remedy)


def failed(sentence: str, remedy: str) -> Seen:
    """The run would stop, or would not be worth its cost."""
    return Seen("failed", sentence, remedy)


def said(error: SympatheiaError | OSError) -> Seen:
    """A failure in the words of an error, whose last sentence says what to do."""
    sentence, _, remedy = in_words(error).rpartition(". ")
    return failed(f"{sentence}.", remedy) if sentence else failed(remedy, "")


@dataclass(frozen=True, slots=True)
class Check(Generic[Subject]):
    """One thing that is looked at.

    Attributes:
        name: what findings and docs call it.
        about: what it looks at, and why.
        look: gives what is seen; None where the check does not concern this run.
        cheap: whether every build can afford it: some milliseconds, and nothing asked of a server
            that costs tokens.
    """

    name: str
    about: str
    look: Callable[[Subject], Seen | None]
    cheap: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `where` is the server it looked at, empty for this machine."""

    name: str
    where: str
    verdict: Verdict
    sentence: str
    remedy: str


def look(
    checks: Iterable[Check[Subject]], subject: Subject, where: str = "", *, cheap: bool = False
) -> Iterator[Finding]:
    """What checks find, or with `cheap` the cheap ones of them."""
    for check in checks:
        if cheap and not check.cheap:
            continue
        try:
            seen = check.look(subject)
        except (SympatheiaError, OSError) as error:
            seen = said(error)
        if seen is not None:
            yield Finding(check.name, where, seen.verdict, seen.sentence, seen.remedy)


def in_one_line(found: Finding) -> str:
    """A finding with its remedy."""
    where = f"{found.where}: " if found.where not in found.sentence else ""
    return f"{where}{found.sentence} {found.remedy}".rstrip()


def findings_as_data(findings: Sequence[Finding]) -> dict[str, Any]:
    """Findings as plain data."""
    return {
        "passed": all(found.verdict != "failed" for found in findings),
        "findings": [asdict(found) for found in findings],
    }


def require_none_failed(findings: Sequence[Finding]) -> None:
    """Passes if nothing failed.

    Raises:
        SympatheiaError: something did; the sentence names it.
    """
    names = list(dict.fromkeys(found.name for found in findings if found.verdict == "failed"))
    if names:
        raise SympatheiaError(
            f"{len(names)} of what a run needs failed: {', '.join(names)}. Mend what the findings "
            "name, then look again."
        )
