"""What of a run people are shown: its pairs, cell by cell in an order drawn by the seed."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from corpus.errors import InvalidInput
from corpus.plan.blueprint import Blueprint
from corpus.plan.subsets.subset import Exchange
from corpus.review.verdicts import Role, standing_digests
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import read_rows
from schemas.slots import PairSlot, Turn

ROLES: tuple[Role, ...] = ("query", "query_clip", "response", "response_clip")
"""What of a pair can be struck, in the order in which it is heard."""
OF_QUERY: tuple[Role, ...] = ("query", "query_clip")
"""What of it is the query's, which other rows may share."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair as people are shown it.

    Attributes:
        id: of the row.
        query_id: of its query.
        cell: what is counted together.
        emotion: that the response suits.
        heard: the emotion in which the query is spoken.
        query: its words.
        response: likewise.
        rows: how many rows share the query, this one among them.
        digests: of what can be struck, by role.
        turn: of a dialogue, if it is one.
        said: in the dialogue before it.
        listens: whether how the query sounds decides how responses are delivered.
    """

    id: str
    query_id: str
    cell: str
    emotion: str
    heard: str
    query: str
    response: str
    rows: int
    digests: dict[Role, str]
    turn: Turn | None = None
    said: tuple[Exchange, ...] = ()
    listens: bool = False

    @property
    def hanging(self) -> dict[Role, str]:
        """What else is made anew where the words of a role, or its sound, are struck."""
        if self.turn is None:
            return {"query": _shared(self.rows), "response": ""}
        later = self.turn.of - self.turn.number
        after = "the turn after it" if later == 1 else f"the {later} turns after it"
        query = f"its response and {after}" if later else "its response"
        heard = "this response or a later one" if later else "this response"
        return {
            "query": f"Striking the query's words has {query} written anew."
            + (f" Striking its sound may have {heard} spoken anew." if self.listens else ""),
            "response": f"Striking the response's words has {after} written anew." if later else "",
        }


def _shared(rows: int) -> str:
    if rows == 1:
        return "Striking the query's words has its response written anew."
    return (
        f"{rows} rows hang on this query: striking its words has the responses of all of them "
        "written anew."
    )


def pairs_to_review(folder: RunFolder, per_cell: int = 0) -> list[Pair]:
    """The pairs of a run in the order in which they are shown: a cell after the other, in turns.

    Args:
        folder: the run.
        per_cell: how many of each cell; all if 0.

    Raises:
        InvalidInput: it is no run folder, or nothing of it was spoken yet.
        SympatheiaError: a table is damaged.
    """
    blueprint = folder.blueprint()
    plan = blueprint.plan
    tables = (folder.queries, folder.responses, folder.clips)
    if missing := [path.name for path in tables if not path.is_file()]:
        raise InvalidInput(
            f"{folder.root} has nothing to review yet: it has no {missing[0]}. Build it as far as "
            "speech first ('sympatheia build RECIPE --until speech')."
        )
    slots = {pair.id: pair for pair in plan.pairs()}
    cells: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for pair in slots.values():
        cells[pair.cell].append((plan.seed("review", pair.id, 0), pair.id))
    drawn = [sorted(found)[: per_cell or None] for found in cells.values()]
    order = [one[1] for turn in zip_longest(*drawn) for one in turn if one]
    found = {pair.id: pair for pair in _on_file(folder, blueprint, slots, set(order))}
    return [found[pair_id] for pair_id in order if pair_id in found]


def _on_file(
    folder: RunFolder, blueprint: Blueprint, slots: dict[str, PairSlot], wanted: set[str]
) -> Iterator[Pair]:
    texts = {row["query_id"]: row["text"] for row in read_rows(folder.queries)}
    sharing = Counter(pair.query.id for pair in slots.values())
    there = standing_digests(folder)
    exchanges: defaultdict[str, list[Exchange]] = defaultdict(list)
    for row in read_rows(folder.responses):
        digests = {role: there.get((row["id"], role)) for role in ROLES}
        slot = slots.get(row["id"])
        said: tuple[Exchange, ...] = ()
        if slot and (turn := slot.query.turn):  # rows are in slot order, so turns are, too
            said = tuple(exchanges[turn.dialogue])
            exchanges[turn.dialogue].append(Exchange(texts[slot.query.id], row["text"]))
        # A recipe that grew has slots of which nothing is there yet, and the other way round.
        if slot is None or row["id"] not in wanted or None in digests.values():
            continue
        yield Pair(
            row["id"],
            slot.query.id,
            slot.cell,
            slot.anchor,
            slot.query.emotion,
            texts[slot.query.id],
            row["text"],
            sharing[slot.query.id],
            {role: digest for role, digest in digests.items() if digest},
            slot.query.turn,
            said,
            bool(blueprint.room(slot).heard_before(slot)),
        )
