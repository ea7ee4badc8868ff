"""What `status` and `anchors list` print."""

from collections.abc import Iterable
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from corpus.errors import SympatheiaError
from corpus.run_folder import RunFolder
from flows.display import stages_table
from schemas.prompts import Anchor

LARGEST_LIST = 40


def read_status(run: RunFolder) -> dict[str, Any]:
    """The state of a run as plain data.

    Raises:
        InvalidInput: this is not a run folder.
        SympatheiaError: its progress cannot be read.
    """
    recipe = run.read_recipe()
    try:
        stages = orjson.loads(run.progress.read_bytes()) if run.progress.is_file() else {}
    except orjson.JSONDecodeError as error:
        raise SympatheiaError(
            f"{run.progress} is damaged ({error}). Delete it; the next build writes it anew."
        ) from error
    building = run.busy
    if not building:
        for stage in stages.values():
            stage["per_second"] = None
            if stage["done"] < stage["total"]:
                stage["seconds_left"] = None
    return {
        "name": recipe.name,
        "folder": str(run.root),
        "building": building,
        "corpus": str(run.corpus) if run.corpus.is_dir() else None,
        "stages": stages,
    }


def print_status(found: dict[str, Any]) -> None:
    """Prints a run's state: the stages, the cells that are not full, the reasons of refusals."""
    console = Console()
    at_work = "a build is at work" if found["building"] else "no build is at work"
    console.print(f"{found['name']} in {found['folder']}: {at_work}", highlight=False)
    if not found["stages"]:
        console.print("Nothing has been made yet.")
        return
    console.print(stages_table(found["stages"]))
    short = [
        (name, cell, count)
        for name, stage in found["stages"].items()
        for cell, count in stage["cells"].items()
        if count["done"] < count["total"]
    ]
    if short:
        cells = _table("not full yet", "cell", "done", "of")
        for name, cell, count in short[:LARGEST_LIST]:
            cells.add_row(name, cell, f"{count['done']:,}", f"{count['total']:,}")
        console.print(cells)
        if len(short) > LARGEST_LIST:
            console.print(f"... and {len(short) - LARGEST_LIST} more; --json has them all.")
    refusals = _table("refused", "reason", "times")
    for name, stage in found["stages"].items():
        for reason, times in stage["rejections"].items():
            refusals.add_row(name, reason, f"{times:,}")
    if refusals.row_count:
        console.print(refusals)
    if found["corpus"]:
        console.print(f"The dataset is {found['corpus']}.", highlight=False)


def print_anchors(anchors: Iterable[Anchor]) -> None:
    """Prints the anchors with their coordinates and styles."""
    table = _table("anchor", "valence", "arousal", "query style", "response style", "delivered at")
    for anchor in anchors:
        delivery = anchor.response_delivery
        table.add_row(
            anchor.name,
            f"{anchor.valence:.2f}",
            f"{anchor.arousal:.2f}",
            anchor.query_style,
            anchor.response_style,
            f"{delivery.valence:.2f}, {delivery.arousal:.2f}",
        )
    Console().print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in ("done", "of", "times") else "left")
    return table
