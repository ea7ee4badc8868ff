"""Shows on standard error how a run gets on: a live table on a terminal, else a line at times."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from corpus.run.progress import Progress

LINE_EVERY_SECONDS = 10.0


def duration(seconds: float | None) -> str:
    """Seconds as a person says them; a dash when they are not known."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def stages_table(stages: dict[str, Any]) -> Table:
    """One line a stage: how much is done, how fast, how long it will take, what was refused."""
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "done", "of", "per second", "time left", "refused"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for name, stage in stages.items():
        rate = stage["per_second"]
        table.add_row(
            name,
            f"{stage['done']:,}",
            f"{stage['total']:,}",
            "-" if rate is None else f"{rate:,.1f}",
            "done" if stage["done"] == stage["total"] else duration(stage["seconds_left"]),
            f"{sum(stage['rejections'].values()):,}",
        )
    return table


def servers_tables(servers: dict[str, Any]) -> list[Table]:
    """For each section of the recipe that names servers, what they do and what they have cost."""
    return [_servers_table(section, group) for section, group in servers.items()]


def _servers_table(section: str, group: dict[str, Any]) -> Table:
    hours = f", {group['gpu_hours']:.2f} GPU-hours" if group["gpu_hours"] is not None else ""
    cost = f", which cost about {group['cost']:,.2f}" if group.get("cost") is not None else ""
    title = f"{section} servers: {duration(group['seconds'])} at work{hours}{cost}"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="")
    table.add_column("address", no_wrap=True)
    for name in ("in flight", "answered", "failed", "tokens/s"):
        table.add_column(name, justify="right")
    table.add_column("trouble")
    for state in group["endpoints"]:
        limit = "" if state["limit"] is None else f" of {state['limit']:,}"
        speed = state["tokens_per_second"]
        trouble = "" if state["healthy"] else f"out: {state['last_error']}"
        table.add_row(
            state["url"],
            f"{state['in_flight']:,}{limit}",
            f"{state['done']:,}",
            f"{state['failed']:,}",
            "-" if speed is None else f"{speed:,.0f}",
            trouble,
        )
    return table


def servers_line(servers: dict[str, Any]) -> str:
    """All servers in one line, for logs; empty when none is at work."""
    states = [state for group in servers.values() for state in group["endpoints"]]
    in_flight = sum(state["in_flight"] for state in states)
    if not in_flight:
        return ""
    speed = sum(state["tokens_per_second"] or 0 for state in states)
    out = [state["url"] for state in states if not state["healthy"]]
    trouble = f", out: {', '.join(out)}" if out else ""
    return f"servers: {in_flight:,} in flight, {speed:,.0f} tokens a second{trouble}"


class _LiveStages:
    """A table that is made anew each time the terminal is refreshed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich__(self) -> Group:
        found = self._progress.snapshot()
        return Group(stages_table(found["stages"]), *servers_tables(found["servers"]))


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Shows progress for as long as the block runs."""
    console = Console(file=sys.stderr)
    if console.is_terminal:
        with Live(_LiveStages(progress), console=console, refresh_per_second=2):
            yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_print_lines, args=(progress, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _print_lines(progress: Progress, ended: threading.Event) -> None:
    said: dict[str, int] = {}
    last = time.monotonic()
    while True:
        over = ended.wait(0.5)
        due = over or time.monotonic() - last >= LINE_EVERY_SECONDS
        found = progress.snapshot()
        shown_before = dict(said)
        for name, stage in found["stages"].items():
            done, total = stage["done"], stage["total"]
            finished = done == total and said.get(name) != total
            if finished or (due and said.get(name) != done):
                said[name] = done
                last = time.monotonic()
                rate = stage["per_second"]
                pace = "" if rate is None else f", {rate:.1f} a second"
                left = "" if finished else f", {duration(stage['seconds_left'])} left"
                print(f"{name}: {done:,} of {total:,}{pace}{left}", file=sys.stderr, flush=True)  # noqa: T201
        if said != shown_before and (line := servers_line(found["servers"])):
            print(line, file=sys.stderr, flush=True)  # noqa: T201
        if over:
            return
