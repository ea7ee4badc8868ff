"""The registry of gates, and what is counted against it."""

import pytest

from corpus.checks.gates import GATES, Gates, gates_as_data, require_passed
from corpus.errors import SympatheiaError


def test_a_gate_says_what_it_counts_in_what_and_what_to_know():
    names = [gate.name for gate in GATES]
    assert len(set(names)) == len(names)
    for gate in GATES:
        assert gate.counts and gate.unit, gate.name
        assert gate.about.endswith((".", "?")), gate.name


def test_a_gate_that_is_not_in_the_registry_cannot_be_opened_offended_or_measured():
    gates = Gates()
    with pytest.raises(KeyError, match="balance"):
        gates.open("balance")
    with pytest.raises(KeyError, match="balance"):
        gates.offend("balance", "here")
    with pytest.raises(KeyError, match="balance"):
        gates.measure("balance", 1.0, "here")


def test_outcomes_come_in_the_order_of_the_registry_whatever_the_order_of_looking():
    gates = Gates()
    gates.open("clip_twice", "clip")
    gates.open("checksum")
    assert [outcome.name for outcome in gates.all] == ["checksum", "clip", "clip_twice"]


def test_offences_are_counted_and_the_first_five_named():
    gates = Gates()
    gates.open("null")
    for number in range(7):
        gates.offend("null", f"row {number}")
    (outcome,) = gates.all
    assert (outcome.found, outcome.passed) == (7, False)
    assert outcome.examples == [f"row {number}" for number in range(5)]
    with pytest.raises(SympatheiaError, match="1 of 1 gates failed: null"):
        require_passed(gates.all)


@pytest.mark.parametrize(
    ("name", "recipes", "found", "passed"),
    [
        ("largest_shard_bytes", None, 500_000_000, True),
        ("largest_shard_bytes", None, 500_000_001, False),
        ("query_similarity", 0.85, 0.85, True),
        ("query_similarity", 0.85, 0.86, False),
    ],
)
def test_what_is_measured_is_held_to_the_gates_limit_or_the_recipes(name, recipes, found, passed):
    gates = Gates()
    gates.measure(name, found, "there", recipes)
    data = gates_as_data(gates.all)
    assert data["passed"] is passed
    (listed,) = data["gates"]
    assert listed["limit"] == recipes or listed["limit"] == 500_000_000
    assert listed["examples"] == ([] if passed else ["there"])
