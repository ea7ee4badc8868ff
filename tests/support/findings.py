"""What the tests of the preflight wing share."""

from corpus.plan.blueprint import Blueprint
from corpus.preflight.findings import Finding

NOBODY = "http://127.0.0.1:9/v1"
"""Where nothing listens: the port of the discard service."""


def verdicts(found: list[Finding]) -> dict[str, str]:
    """What did not pass."""
    return {one.name: one.verdict for one in found if one.verdict != "passed"}


def blueprint(*overrides: str, recipe: str = "demo") -> Blueprint:
    return Blueprint.named(recipe, overrides)
