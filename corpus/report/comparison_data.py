"""What moved between two corpora, or two states of one, and by how much: as plain data.

`comparison.json` is this data; `comparison.html` (`corpus.report.comparison_page`) shows it. Rows
are compared by their ids. No more than the digests of all rows, and the texts of those that differ,
is in memory at once.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from random import Random

from corpus.dataset.comparison import Comparison, compared
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.errors import InvalidInput
from corpus.hub.hub_download import fetch_dataset, is_hub_name
from corpus.report.comparison_figures import (
    EVALUATED,
    evaluation_figures,
    one_sided,
    report_figures,
    side_by_side,
)
from corpus.report.report_data import Facts, gather
from corpus.speech.clip_requests import QUERY, RESPONSE

ROLES = (QUERY, RESPONSE)
HEARD_AND_READ = tuple(f"{role}_{what}" for role in ROLES for what in ("text", "audio"))
"""The columns that a person reads or hears, in which rows are shown and counted by cell."""
MOST_SHOWN = 8
"""Changed pairs that are shown with both texts and both clips: what one listens to in minutes."""


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        source: what the user called it.
        dataset: its rows.
        commit: of the Hub, if it came from there.
    """

    source: str
    dataset: DatasetFolder
    commit: str | None = None

    @classmethod
    def named(cls, source: str) -> "Side":
        """A run folder, a dataset folder, or `NAMESPACE/NAME@TAG` of the Hub, which is fetched.

        Raises:
            InvalidInput: there is no such thing, or it is no dataset of this project.
            SympatheiaError: the Hub refuses, fails or cannot be reached.
        """
        folder = Path(source)
        if folder.exists():
            return cls(source, DatasetFolder(folder))
        if not is_hub_name(source):
            raise InvalidInput(
                f"There is no folder {source}. Name a run folder, a dataset folder, or "
                "NAMESPACE/NAME@TAG of the Hub."
            )
        fetched = fetch_dataset(source)
        try:
            return cls(source, DatasetFolder(fetched), fetched.name)
        except InvalidInput as error:
            raise InvalidInput(f"{source} of the Hub cannot be compared. {error}") from error

    def cell(self, row_id: str) -> str | None:
        """The cell of a row, if it has that row."""
        slot = self.dataset.slots.get(row_id)
        return slot.cell if slot else None


def gather_comparison(a: Side, b: Side) -> Facts:
    """From `a` to `b`: rows, cells, texts, clips, anchors and figures, and some pairs to look at.

    Raises:
        SympatheiaError: the rows of one are not those of its plan, or a file is missing or
            damaged.
    """
    before, after = gather(a.dataset), gather(b.dataset)
    rows = compared(a.dataset, b.dataset, audio=True)
    judged, judged_after = (evaluation_figures(side.dataset.run.root) for side in (a, b))
    alone = one_sided(before | {EVALUATED: judged}, after | {EVALUATED: judged_after})
    return {
        "a": _told(a, before),
        "b": _told(b, after),
        "rows": {
            "added": len(rows.added),
            "gone": len(rows.gone),
            "changed": len(rows.moved),
            "unchanged": rows.unchanged,
            "by_column": {column: len(ids) for column, ids in rows.changed.items()},
        },
        "texts": {role: _texts(a, b, rows, role) for role in ROLES},
        "clips": {role: _clips(a, b, rows, role) for role in ROLES},
        "cells": _cells(a, b, rows),
        "anchors": _anchors(a, b),
        "figures": side_by_side(report_figures(before, after), report_figures(after, before)),
        "one_sided": alone,
        EVALUATED: side_by_side(judged, judged_after) if judged and judged_after else None,
        "pairs": _pairs(a, b, rows),
        "ids": {"added": rows.added, "gone": rows.gone, "changed": rows.changed},
    }


def _told(side: Side, facts: Facts) -> Facts:
    told = ("name", "seed", "prompts_digest", "llm_model", "tts_model")
    return {"source": side.source, "commit": side.commit, **{name: facts[name] for name in told}}


def _units(side: Side, row_ids: Iterable[str], role: str) -> dict[str, str]:
    """One row of each text and clip of a role: a query that several rows share is one."""
    found: dict[str, str] = {}
    for row_id in row_ids:
        query = side.dataset.slots[row_id].query.id
        found.setdefault(query if role == QUERY else row_id, row_id)
    return found


def _in_both(a: Side, b: Side) -> list[str]:
    return [row_id for row_id in a.dataset.slots if row_id in b.dataset.slots]


def _clips(a: Side, b: Side, rows: Comparison, role: str) -> Facts:
    """How many clips of a role differ, those that several rows share once."""
    changed = len(_units(b, rows.changed.get(f"{role}_audio", ()), role))
    return _share(changed, len(_units(b, _in_both(a, b), role)))


def _share(changed: int, in_both: int) -> Facts:
    share = round(changed / in_both, 4) if in_both else None
    return {"in_both": in_both, "changed": changed, "share": share}


def _texts(a: Side, b: Side, rows: Comparison, role: str) -> Facts:
    """How many texts of a role differ, and by how many words one that does."""
    column = f"{role}_text"
    ids = set(_units(b, rows.changed.get(column, ()), role).values())
    old = _column(a, ids, column)
    gone, come = 0, 0
    for row_id, text in _column(b, ids, column).items():
        was, now = old[row_id].split(), text.split()
        kept = sum(m.size for m in SequenceMatcher(None, was, now, False).get_matching_blocks())
        gone, come = gone + len(was) - kept, come + len(now) - kept
    return {
        **_share(len(ids), len(_units(b, _in_both(a, b), role))),
        # Of a changed text, in the mean.
        "words_gone": round(gone / len(ids), 2) if ids else None,
        "words_come": round(come / len(ids), 2) if ids else None,
    }


def _column(side: Side, ids: Collection[str], column: str) -> dict[str, str]:
    pairs = side.dataset.pairs(columns=("id", column)) if ids else ()
    return {row["id"]: row[column] for row in pairs if row["id"] in ids}


def _cells(a: Side, b: Side, rows: Comparison) -> list[Facts]:
    """Where it moved: rows by their cell, in the order of `b`, and then what only `a` has."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for side in (b, a):
        for pair in side.dataset.slots.values():
            counts[pair.cell].update(())
    for what, ids in (
        ("added", rows.added),
        ("gone", rows.gone),
        ("changed", rows.moved),
        *((column, rows.changed.get(column, ())) for column in HEARD_AND_READ),
    ):
        for row_id in ids:
            counts[b.cell(row_id) or a.cell(row_id) or ""][what] += 1
    shared = Counter(b.cell(row_id) for row_id in _in_both(a, b))
    return [
        {
            "cell": cell,
            **{what: found[what] for what in ("added", "gone", "changed")},
            "unchanged": shared[cell] - found["changed"],
            **{column: found[column] for column in HEARD_AND_READ},
        }
        for cell, found in counts.items()
    ]


def _anchors(a: Side, b: Side) -> Facts:
    """The anchors that came and went, and what is said otherwise of those that both have."""
    old, new = (
        {name: anchor.model_dump(mode="json") for name, anchor in side.items()}
        for side in (a.dataset.blueprint.plan.anchors, b.dataset.blueprint.plan.anchors)
    )
    changed = {
        name: {key: {"a": old[name][key], "b": new[name][key]} for key in new[name]
               if old[name][key] != new[name][key]}
        for name in new
        if name in old
    }  # fmt: skip
    return {
        "added": [name for name in new if name not in old],
        "gone": [name for name in old if name not in new],
        "changed": {name: keys for name, keys in changed.items() if keys},
    }


def _pairs(a: Side, b: Side, rows: Comparison) -> list[Facts]:
    """Some changed pairs with both texts, from the cells in which most moved."""
    moved = rows.moved
    heard_or_read = [set(rows.changed.get(column, ())) for column in HEARD_AND_READ]
    by_cell: defaultdict[str, list[str]] = defaultdict(list)
    for row_id in set().union(*heard_or_read) or moved:
        by_cell[b.dataset.slots[row_id].cell].append(row_id)
    drawn = {
        cell: Random(f"{b.dataset.manifest.seed} {cell}").sample(sorted(ids), len(ids))
        for cell, ids in by_cell.items()
    }
    chosen = _round_robin([ids for _, ids in sorted(drawn.items(), key=_most_first)])
    columns = ("id", "query_text", "response_text", "query_style", "response_style")
    old, new = (
        {row["id"]: row for row in side.dataset.pairs(columns=columns) if row["id"] in chosen}
        for side in (a, b)
    )
    return [
        {
            "id": row_id,
            "cell": b.dataset.slots[row_id].cell,
            "changed": [column for column, ids in rows.changed.items() if row_id in ids],
            "a": {column: old[row_id][column] for column in columns[1:]},
            "b": {column: new[row_id][column] for column in columns[1:]},
        }
        for row_id in chosen
    ]


def _most_first(drawn: tuple[str, list[str]]) -> tuple[int, str]:
    cell, ids = drawn
    return -len(ids), cell


def _round_robin(lists: list[list[str]]) -> list[str]:
    """One of each list, then another of each, until there are enough."""
    found: list[str] = []
    for turn in range(MOST_SHOWN):
        found += [ids[turn] for ids in lists if turn < len(ids)]
    return found[:MOST_SHOWN]
