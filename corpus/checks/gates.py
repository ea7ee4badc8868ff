"""Gates: what must hold of a dataset, each with a number, a limit and a verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from corpus.errors import SympatheiaError

EXAMPLES = 5
"""Places that a gate names; how many there are in all is its number."""


@dataclass
class Gate:
    """One thing that must hold. `found` is what was counted or measured, `limit` what may be."""

    name: str
    limit: float
    found: float = 0
    examples: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether it holds."""
        return self.found <= self.limit


class Gates:
    """Every gate, in order; most count what must not be."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}

    def open(self, *names: str) -> None:
        """Gates that nothing has offended yet."""
        for name in names:
            self._gates[name] = Gate(name, 0)

    def offend(self, name: str, example: str) -> None:
        """Counts something that must not be."""
        gate = self._gates[name]
        gate.found += 1
        if len(gate.examples) < EXAMPLES:
            gate.examples.append(example)

    def measure(self, name: str, found: float, limit: float, example: str) -> None:
        """A number that must not exceed a limit."""
        gate = self._gates[name] = Gate(name, limit, found)
        if not gate.passed:
            gate.examples.append(example)

    @property
    def all(self) -> list[Gate]:
        """The gates."""
        return list(self._gates.values())


def require_passed(gates: Sequence[Gate]) -> None:
    """Passes if every gate does.

    Raises:
        SympatheiaError: some do not; the sentence names them.
    """
    failed = [gate.name for gate in gates if not gate.passed]
    if failed:
        raise SympatheiaError(
            f"{len(failed)} of {len(gates)} gates failed: {', '.join(failed)}. Mend what they "
            "name, or build the corpus again from its run folder."
        )


def gates_as_data(gates: Iterable[Gate]) -> dict[str, Any]:
    """Gates as plain data."""
    listed = [
        {
            "name": gate.name,
            "found": gate.found,
            "limit": gate.limit,
            "passed": gate.passed,
            "examples": gate.examples,
        }
        for gate in gates
    ]
    return {"passed": all(gate["passed"] for gate in listed), "gates": listed}
