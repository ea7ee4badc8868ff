"""The figures of two corpora side by side: those of their reports, and of their evaluations.

A figure that only one of them can have is left out by its whole group, and the group is named.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from corpus.errors import SympatheiaError
from corpus.report.report_data import Facts
from corpus.speech.clip_requests import QUERY, RESPONSE
from schemas.names import EVALUATION
from schemas.slots import SPLITS, SUBSETS

EVALUATED = "evaluation"
GROUPS = ("near_twins", "refusals", "sound", EVALUATED)
"""Groups of figures that not every corpus has: only a run's own folder, or one that was judged."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure; with the bounds within which it lies, where they are known."""

    value: float
    low: float | None = None
    high: float | None = None

    def apart(self, other: "Measured") -> bool | None:
        """Whether no value lies within the bounds of both; None where bounds are not known."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return None
        return self.high < other.low or other.high < self.low


Figures = dict[str, Measured]


def side_by_side(one: Figures, other: Figures) -> list[Facts]:
    """Each figure of both, in their order: `figure`, `a`, `b`, `difference` and `apart`.

    What one lacks is None, and so is then the difference.
    """
    rows = []
    for name in [*one, *(name for name in other if name not in one)]:
        a, b = one.get(name), other.get(name)
        rows.append(
            {
                "figure": name,
                "a": a.value if a else None,
                "b": b.value if b else None,
                "difference": round(b.value - a.value, 4) if a and b else None,
                "apart": a.apart(b) if a and b else None,
            }
        )
    return rows


def report_figures(facts: Facts, other: Facts) -> Figures:
    """The figures of a report, by what a reader calls them, where the other report may have them.

    Args:
        facts: of `corpus.report.report_data.gather`.
        other: those that it is compared with.
    """
    pairs = {
        f"pairs, {subset} {split}": facts["pairs"].get(subset, {}).get(split, 0)
        for subset in SUBSETS
        if subset in {*facts["pairs"], *other["pairs"]}
        for split in SPLITS
    }
    found = {
        "pairs": sum(pairs.values()),
        **pairs,
        "anchors": len(facts["anchors"]),
        "queries": facts["queries"],
        **{f"hours, {role}": facts["hours"][role] for role in (QUERY, RESPONSE)},
        **dict(_lengths(facts)),
    }
    for group, flatten in (("near_twins", _twins), ("refusals", _refusals), ("sound", _sound)):
        if facts[group] and other[group]:
            found |= dict(flatten(facts[group], other[group]))
    return {name: Measured(value) for name, value in found.items()}


def one_sided(one: Facts, other: Facts) -> dict[str, str]:
    """The groups of figures that one of them alone has, and which does: "a" or "b"."""
    return {
        group: "a" if one[group] else "b"
        for group in GROUPS
        if bool(one[group]) != bool(other[group])
    }


def _lengths(facts: Facts) -> Iterator[tuple[str, float]]:
    for unit in ("words", "seconds"):
        for role in (QUERY, RESPONSE):
            for subset, median in facts[unit][role]["median"].items():
                yield f"median {unit}, {subset} {role}", median


def _twins(twins: Facts, _: Facts) -> Iterator[tuple[str, float]]:
    yield "near-twin responses", twins["near_twins"]
    yield "share of near-twins", round(twins["near_twins"] / twins["compared"], 4)


def _refusals(refusals: Facts, other: Facts) -> Iterator[tuple[str, float]]:
    """Each rule that refused something in either, so that none is 0 and not unknown."""
    rules = refusals["rules"]
    for stage in rules | other["rules"]:
        found = rules.get(stage, {})
        yield f"refused, {stage}", sum(found.values())
        for rule in found | other["rules"].get(stage, {}):
            yield f"refused, {stage}: {rule}", found.get(rule, 0)


def _sound(sound: Facts, _: Facts) -> Iterator[tuple[str, float]]:
    for role, features in sound["spearman"].items():
        for feature, found in features.items():
            for axis, rho in found.items():
                yield f"Spearman of {feature} and {axis}, {role}", rho
    for name in ("word_error_rate", "dnsmos"):
        if sound[name]:
            yield f"{name.replace('_', ' ')}, mean", sound[name]["mean"]


def evaluation_figures(folder: Path) -> Figures | None:
    """What the evaluation beside a corpus's files found of that corpus; None if there is none.

    Raises:
        SympatheiaError: its file is damaged.
    """
    path = folder / EVALUATION
    try:
        systems = orjson.loads(path.read_bytes())["systems"]
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise SympatheiaError(
            f"{path} is damaged. Remove it, or write it anew with 'sympatheia evaluate'."
        ) from error
    if not isinstance(systems, dict):
        return None
    name = folder.resolve().name
    alone = next(iter(systems.values())) if len(systems) == 1 else None
    return dict(_flat(systems.get(name, alone)))


def _flat(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Measured]]:  # noqa: ANN401
    """Every number of an evaluation, by the keys that lead to it."""
    if isinstance(found, Mapping):
        for key in ("mean", "rho"):
            if _number(found.get(key)):
                low, high = (found[b] if _number(found.get(b)) else None for b in ("low", "high"))
                yield ", ".join(path), Measured(found[key], low, high)
                return
        for key, value in found.items():
            yield from _flat(value, (*path, str(key).replace("_", " ")))
    elif _number(found):
        yield ", ".join(path), Measured(found)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
