"""A comparison as rows of tables, for the page and for the terminal alike."""

from collections.abc import Iterable
from dataclasses import dataclass

from corpus.report.comparison_data import ROLES
from corpus.report.comparison_figures import EVALUATED
from corpus.report.report_data import Facts

Cell = str | int

NONE = "-"
"""What stands where there is no figure."""
LONGEST_SHOWN = 60
"""Characters of a changed value of an anchor that are shown."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: its title, the names of its columns, its rows."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


def tables(facts: Facts) -> list[Rows]:
    """What moved, in tables; those with nothing in them are left out.

    Args:
        facts: what `corpus.report.comparison_data.gather_comparison` found.
    """
    found = [
        _columns(facts["rows"]["by_column"]),
        _texts_and_clips(facts),
        _cells(facts["cells"]),
        _anchors(facts["anchors"]),
        _figures("Figures", facts["figures"]),
        _figures("Evaluation", facts[EVALUATED] or ()),
    ]
    return [table for table in found if table.rows]


def sentences(facts: Facts) -> list[str]:
    """What moved in a few words, and what could not be compared."""
    rows, anchors = facts["rows"], facts["anchors"]
    said = [
        f"Of {rows['changed'] + rows['unchanged']:,} rows that both have, {rows['changed']:,} "
        f"differ; {rows['added']:,} were added, and {rows['gone']:,} are gone."
    ]
    for what, word in (("added", "added"), ("gone", "gone")):
        if anchors[what]:
            said.append(f"Anchors {word}: {', '.join(anchors[what])}.")
    said += [
        f"{group.replace('_', ' ').capitalize()}: only {has.upper()} has figures of it, so there "
        "is nothing to compare."
        for group, has in facts["one_sided"].items()
    ]
    return said


def _columns(by_column: dict[str, int]) -> Rows:
    return Rows("Changed by column", ("column", "rows"), list(by_column.items()))


def _texts_and_clips(facts: Facts) -> Rows:
    rows: list[tuple[Cell, ...]] = []
    for role in ROLES:
        text, clip = facts["texts"][role], facts["clips"][role]
        words = (_number(text["words_gone"]), _number(text["words_come"]))
        rows.append((f"{role} texts", text["in_both"], text["changed"], _share(text), *words))
        rows.append((f"{role} clips", clip["in_both"], clip["changed"], _share(clip), "", ""))
    columns = ("", "in both", "changed", "share", "words gone of one", "words new in one")
    return Rows("Texts and clips", columns, rows)


def _cells(cells: list[Facts]) -> Rows:
    counted = [key for key in cells[0] if key != "cell"] if cells else []
    return Rows(
        "Where it moved",
        ("cell", *(key.replace("_", " ").replace("audio", "clip") for key in counted)),
        [
            (found["cell"], *(found[key] for key in counted))
            for found in cells
            if found["added"] or found["gone"] or found["changed"]
        ],
    )


def _anchors(anchors: Facts) -> Rows:
    return Rows(
        "Anchors that are described otherwise",
        ("anchor", "what", "in A", "in B"),
        [
            (name, key.replace("_", " "), _shown(values["a"]), _shown(values["b"]))
            for name, keys in anchors["changed"].items()
            for key, values in keys.items()
        ],
    )


def _figures(title: str, figures: Iterable[Facts]) -> Rows:
    return Rows(
        title,
        ("figure", "A", "B", "difference"),
        [
            (
                found["figure"],
                _number(found["a"]),
                _number(found["b"]),
                _number(found["difference"], sign="+")
                + (", more than chance" if found["apart"] else ""),
            )
            for found in figures
        ],
    )


def _share(found: Facts) -> str:
    return NONE if found["share"] is None else f"{found['share']:.1%}"


def _number(value: float | None, sign: str = "") -> str:
    if value is None:
        return NONE
    if not value:
        return "0"
    return f"{value:{sign},.4g}" if isinstance(value, float) else f"{value:{sign},}"


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."
