"""What `status`, `estimate`, `check`, `doctor`, `compare`, `review` and others print."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from corpus.checks.gates import Outcome
from corpus.preflight.findings import Finding, in_one_line
from corpus.run.progress_file import read_progress
from corpus.run.run_folder import RunFolder
from corpus.text.response_similarity import near_twins
from flows.display import duration, servers_tables, stages_table
from schemas.prompts import Anchor

if TYPE_CHECKING:  # brings scipy and the stages, which `status` need not wait for
    from corpus.estimate.forecast import Estimate
    from corpus.estimate.ranges import Range
    from flows.orders import Resolved

LARGEST_LIST = 40
PAIRS_PRINTED = 3
"""Changed pairs that a terminal shows; the page of a comparison has more, with their sounds."""
WIDE = 200
"""Columns of a table that goes into a pipe or a file."""
NUMBERS = (
    *("done", "of", "accepted", "times", "found", "limit", "from", "to"),
    *("share", "A", "B", "difference", "looked at", "kept", "struck"),
)


def read_status(run: RunFolder) -> dict[str, Any]:
    """The state of a run as plain data.

    Raises:
        InvalidInput: this is not a run folder.
        SympatheiaError: its progress cannot be read.
    """
    recipe = run.read_recipe()
    found = read_progress(run.progress)
    building = run.busy
    if not building:
        for stage in found["stages"].values():
            stage["per_second"] = None
            if stage["done"] < stage["total"]:
                stage["seconds_left"] = None
        for group in found["servers"].values():
            for state in group["endpoints"]:
                state |= {"in_flight": 0, "tokens_per_second": None}
    return {
        "name": recipe.name,
        "folder": str(run.root),
        "building": building,
        "corpus": str(run.corpus) if run.corpus.is_dir() else None,
        "near_twins": near_twins(run, recipe.dedup.threshold),
        **found,
    }


def print_status(found: dict[str, Any]) -> None:
    """Prints a run's state: the stages, the cells that are not full, the reasons of refusals."""
    console = _console()
    at_work = "a build is at work" if found["building"] else "no build is at work"
    console.print(f"{found['name']} in {found['folder']}: {at_work}", highlight=False)
    if not found["stages"]:
        made = found["corpus"] or RunFolder(Path(found["folder"])).decisions.exists()
        lost = (
            "What was made is not on record (progress.json is missing); the next build counts it."
        )
        console.print(lost if made else "Nothing has been made yet.")
        return
    console.print(stages_table(found["stages"]), *servers_tables(found["servers"]), sep="\n")
    short = [
        (name, cell, count)
        for name, stage in found["stages"].items()
        for cell, count in stage["cells"].items()
        if count["done"] < count["total"]
    ]
    if short:
        cells = _table("not full yet", "cell", "done", "of", "accepted")
        for name, cell, count in short[:LARGEST_LIST]:
            share = count["acceptance"]
            accepted = "-" if share is None else f"{share:.0%}"
            cells.add_row(name, cell, f"{count['done']:,}", f"{count['total']:,}", accepted)
        console.print(cells)
        if len(short) > LARGEST_LIST:
            console.print(f"... and {len(short) - LARGEST_LIST} more; --json has them all.")
    _print_counts(console, "refused", found["stages"], "rejections")
    _print_counts(console, "kept, but reported", found["stages"], "reported")
    if found["near_twins"]:
        console.print(_twins_sentence(found["near_twins"]), highlight=False)
    if found["corpus"]:
        shards = found["stages"].get("shards")
        earlier = shards and shards["done"] < shards["total"]
        which = "The dataset of an earlier build is" if earlier else "The dataset is"
        console.print(f"{which} {found['corpus']}.", highlight=False)


def _print_counts(console: Console, title: str, stages: dict[str, Any], counted: str) -> None:
    table = _table(title, "reason", "times")
    for name, stage in stages.items():
        for reason, times in stage.get(counted, {}).items():
            table.add_row(name, reason, f"{times:,}")
    if table.row_count:
        console.print(table)


def _twins_sentence(twins: dict[str, Any]) -> str:
    of = f"{twins['compared']:,} pairs of responses to one neutral query"
    if not twins["near_twins"]:
        return f"Near-twin responses: none of {of} is closer than {twins['threshold']:g}."
    most, times = next(iter(twins["anchors"].items()))
    return (
        f"Near-twin responses: {twins['near_twins']:,} of {of} are closer than "
        f"{twins['threshold']:g}, at {twins['queries']:,} queries; most often {most} ({times:,})."
    )


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
    _console().print(table)


def _console() -> Console:
    """Standard output, wide where no terminal bounds it: who searches it finds names whole."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console


def print_gates(outcomes: Sequence[Outcome]) -> None:
    """Prints every gate with its number, limit and verdict; of those that failed where, and why."""
    table = _table("gate", "found", "limit", "unit", "verdict", "where, for example")
    for outcome in outcomes:
        table.add_row(
            outcome.name,
            _number(outcome.found),
            _number(outcome.limit),
            outcome.gate.unit,
            "passed" if outcome.passed else "FAILED",
            "; ".join(outcome.examples),
        )
    console = _console()
    console.print(table)
    for outcome in outcomes:
        if not outcome.passed:
            gate = outcome.gate
            console.print(
                f"{gate.name}: {gate.counts}. {gate.about}", highlight=False, markup=False
            )


def _number(value: float) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def print_estimate(asked: "Resolved", found: "Estimate") -> None:
    """Prints the range of each figure, and what they rest on."""
    console = _console()
    plan = asked.blueprint.plan
    console.print(
        f"{asked.blueprint.recipe.name}: {plan.pair_count:,} pairs in {asked.folder.root}, what is "
        "left of them",
        highlight=False,
    )
    table = _table("", "from", "to")
    for name, figure in found.figures.items():
        table.add_row(name.replace("_", " "), *_in_words(name, figure))
    console.print(table)
    for note in found.notes:
        console.print(note, highlight=False, soft_wrap=True)


def _in_words(name: str, figure: "Range | None") -> tuple[str, str]:
    if figure is None:
        return "not known", ""
    match name:
        case "wall_seconds" | "audio_seconds":
            return duration(figure.low), duration(figure.high)
        case "disk_bytes":
            return f"{figure.low / 1e9:,.2f} GB", f"{figure.high / 1e9:,.2f} GB"
        case "gpu_hours" | "cost":
            return f"{figure.low:,.2f}", f"{figure.high:,.2f}"
    return f"{figure.low:,.0f}", f"{figure.high:,.0f}"


def print_findings(findings: Iterable[Finding]) -> None:
    """Prints every finding with its verdict, and its remedy where it did not pass."""
    table = _table("looked at", "verdict", "what was found")
    for found in findings:
        verdict = found.verdict.upper() if found.verdict == "failed" else found.verdict
        table.add_row(found.name, verdict, in_one_line(found))
    _console().print(table)


def print_evaluation(facts: dict[str, Any]) -> None:
    """Prints an evaluation's figures in short, a system a column, and what it warns of."""
    from corpus.report.evaluation_tables import overview  # draws, which takes a while to import

    found = overview(facts)
    table = _table(*found.columns)
    for row in found.rows:
        table.add_row(*row)
    _console().print(table)


def print_comparison(facts: dict[str, Any]) -> None:
    """Prints what moved from one corpus to another, and some changed pairs with both texts."""
    from corpus.report.comparison_tables import sentences, tables

    console = _console()
    for name in ("a", "b"):
        side = facts[name]
        commit = f", commit {side['commit']}" if side["commit"] else ""
        told = f"{name.upper()}: {side['source']} ({side['name']}{commit})"
        console.print(told, highlight=False, markup=False)
    for sentence in sentences(facts):
        console.print(sentence, highlight=False, markup=False)
    for found in tables(facts):
        table = _table(*found.columns)
        for column, cells in zip(table.columns, zip(*found.rows, strict=True), strict=True):
            column.justify = "right" if any(isinstance(c, int) for c in cells) else column.justify
        for row in found.rows:
            table.add_row(*(f"{c:,}" if isinstance(c, int) else escape(c) for c in row))
        console.print(f"\n{found.title}", table, sep="\n")
    for pair in facts["pairs"][:PAIRS_PRINTED]:
        console.print(f"\n{pair['id']}, {pair['cell']}", highlight=False)
        for name in ("a", "b"):
            texts = pair[name]
            said = f"  {name.upper()}: {texts['query_text']} -> {texts['response_text']}"
            console.print(said, highlight=False, markup=False, soft_wrap=True)


def print_review(facts: dict[str, Any]) -> None:
    """Prints what people said of a run: counts, ratings, agreement and what is disputed."""
    console = _console()
    if not facts["items"]:
        console.print("Nobody has reviewed anything of this run yet.")
        return
    names, told = ", ".join(facts["reviewers"]), facts["agreement"]
    heard = f"{facts['pairs']:,} of {facts['planned']:,} pairs"
    kept = facts["items"] - facts["struck"]
    _say(console, f"{heard}, by {names}: {kept:,} texts and clips kept, {facts['struck']:,} struck")
    table = _table("cell", "of", "looked at", "kept", "struck", *facts["ratings"])
    for cell, n in facts["cells"].items():
        rated = [_mean(found.get(cell)) for found in facts["ratings"].values()]
        counts = (str(n[key]) for key in ("pairs", "looked_at", "kept", "struck"))
        table.add_row(cell, *counts, *rated)
    table.add_row("all", "", "", "", "", *(_mean(of["all"]) for of in facts["ratings"].values()))
    console.print(table)
    if told["things"]:
        kappa = "cannot be told" if told["kappa"] is None else f"{told['kappa']:.2f}"
        shared = f"Of {told['things']:,} that more than one judged, all agree on"
        _say(console, f"{shared} {told['agreed']:.0%}; {told['measure']}: {kappa}")
    for item in facts["disagreements"][:LARGEST_LIST]:
        by = ", ".join(f"{n} ({note})" if note else n for n, note in item["struck_by"].items())
        role = item["role"].replace("_", " ")
        _say(console, f"{item['id']}, {role}: struck by {by}, kept by {', '.join(item['kept_by'])}")


def print_listening(facts: dict[str, Any]) -> None:
    """Prints what came of a listening test: means by system and emotion, and differences."""
    console = _console()
    heard = f"{facts['answered']} of {facts['raters']} raters have answered"
    _say(console, f"{heard}: {facts['ratings']:,} of {facts['expected']:,} ratings")
    systems = facts["systems"]
    emotions = sorted({name for found in systems.values() for name in found["emotions"]})
    table = _table("emotion", *systems)
    table.add_row("all", *(_mean(found["all"]) for found in systems.values()))
    for name in emotions:
        table.add_row(name, *(_mean(found["emotions"].get(name)) for found in systems.values()))
    console.print(table)
    apart = _table("A", "B", "A - B")
    for one in facts["differences"]:
        apart.add_row(one["a"], one["b"], _mean(one["difference"]))
    console.print(apart)
    if checks := facts["checks"]:
        failed = ", ".join(checks["failed"])
        fate = "left out here" if checks["left_out"] else "counted all the same"
        told = f"raters who failed one, {fate}: {failed}" if failed else "nobody failed one"
        _say(console, f"Attention checks: {checks['rated']} clips rated; {told}")
    published = ", ".join(f"{name} {value:.2f}" for name, value in facts["published"].items())
    _say(console, f"Published, of other raters and queries: {published}")


def _mean(found: dict[str, Any] | None) -> str:
    """A mean with its interval, as far as there is one."""
    if found is None:
        return ""
    if found["low"] is None:
        return f"{found['mean']:.2f}"
    return f"{found['mean']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        # Folded rather than cut off: a name without its end names nothing.
        table.add_column(column, justify="right" if column in NUMBERS else "left", overflow="fold")
    return table
