"""What Prefect's pages show of a run: progress, cells, refusals, and errors in their own words."""

import contextvars
import itertools
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.settings import get_current_settings
from prefect.states import Failed

from corpus.checks.gates import Outcome, gates_as_data
from corpus.errors import SympatheiaError, in_words
from corpus.review.coverage import CellCoverage
from corpus.run.progress import Progress
from flows.display import duration, servers_line
from flows.surroundings import still_stoppable

UPDATE_EVERY_SECONDS = 10.0
FIGURES_EVERY = 30
"""Updates from one table of figures to the next: each is a version that Prefect keeps."""

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def on_prefects_pages(name: str, progress: Progress, stages: tuple[str, ...]) -> Iterator[None]:
    """Keeps progress and tables of figures for as long as the block runs, and leaves them behind.

    The tables are rates and what waits by stage, the servers with their cost, and at the end the
    cells and the refusals by rule.

    Called in a task or flow. A run that Prefect cannot show for a while goes on all the same; the
    log says so.

    Args:
        name: the run's name, which the artifacts' keys begin with.
        progress: the counts of the run.
        stages: the stages to show, as soon as they have begun; those that are not part of the run
            are left out.
    """
    own = partial(_begun, stages, progress)
    key = _key(name, stages[0])
    artifact: UUID | None = None
    with as_far_as_prefect_listens():
        made = create_progress_artifact(0.0, key=f"{key}-progress", description=", ".join(stages))
        assert isinstance(made, UUID)  # outside an event loop it is not a coroutine
        artifact = made
    ended = threading.Event()

    def update() -> None:
        found = progress.snapshot()
        shown = [found["stages"][stage] for stage in own()]
        share = sum(s["done"] for s in shown) / max(1, sum(s["total"] for s in shown))
        if artifact is not None:
            update_progress_artifact(artifact, 100 * share, _sentence(own(), found))

    def leave(tables: dict[str, list[dict[str, Any]]]) -> None:
        for kind, rows in tables.items():
            if rows:
                create_table_artifact(rows, key=f"{key}-{kind}", description=f"{name}: {kind}")

    def keep_updating() -> None:
        for updates in itertools.count(1):
            if ended.wait(UPDATE_EVERY_SECONDS):
                return
            with as_far_as_prefect_listens():
                update()
                if updates % FIGURES_EVERY == 0:
                    leave(_figures(own(), progress.snapshot()))

    # Prefect keeps the address of its server in the context, which a thread does not inherit.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(keep_updating,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        # What ended the block matters more than what Prefect makes of it.
        with as_far_as_prefect_listens():
            update()
            found = progress.snapshot()
            leave(_figures(own(), found) | _tables(own(), found["stages"]))


def _begun(stages: tuple[str, ...], progress: Progress) -> list[str]:
    return [stage for stage in stages if stage in progress.stages]


def leave_link(name: str, what: str, address: str) -> None:
    """Leaves a link to something that a run made, such as its report.

    Args:
        name: the run's name, which the artifact's key begins with.
        what: it is, in a word.
        address: where it is.
    """
    with as_far_as_prefect_listens():
        create_link_artifact(
            address, link_text=address, key=_key(name, what), description=f"{name}: {what}"
        )


def leave_gates(name: str, outcomes: Iterable[Outcome]) -> None:
    """Leaves a table of the gates of a dataset, passed or not."""
    with as_far_as_prefect_listens():
        create_table_artifact(
            gates_as_data(outcomes)["gates"], key=_key(name, "gates"), description=f"{name}: gates"
        )


def leave_coverage(name: str, told: str, cells: Iterable[CellCoverage]) -> str:
    """Leaves a table of how much of each cell was reviewed; `told` says how people go about it.

    Returns:
        The address of its page; empty where Prefect could not be told, or it is not known where its
        pages are.
    """
    rows = [asdict(cell) for cell in cells]
    pages = get_current_settings().ui_url
    with as_far_as_prefect_listens():
        made = create_table_artifact(rows, key=_key(name, "review"), description=told)
        return f"{pages.rstrip('/')}/artifacts/artifact/{made}" if pages else ""
    return ""


def _key(name: str, what: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{name}-{what}".lower()).strip("-")


@contextmanager
def as_far_as_prefect_listens() -> Iterator[None]:
    """Has a run go on, with a warning, where Prefect's server cannot be told something."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        log.warning("Prefect could not be told of the progress: %s", error)


def _sentence(stages: list[str], found: dict[str, Any]) -> str:
    parts = []
    for name in stages:
        stage = found["stages"][name]
        left = (
            "" if stage["done"] == stage["total"] else f", {duration(stage['seconds_left'])} left"
        )
        parts.append(f"{name}: {stage['done']:,} of {stage['total']:,}{left}")
    return "; ".join([*parts, *filter(None, [servers_line(found["servers"])])])


def _figures(own: list[str], found: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """How fast each stage is and what waits for it, and what each server does and has cost."""
    stages = [
        {
            "stage": name,
            "done": stage["done"],
            "waiting": stage["total"] - stage["done"],
            "per second": stage["per_second"],
            "seconds left": stage["seconds_left"],
            "refused": sum(stage["rejections"].values()),
        }
        for name, stage in ((name, found["stages"][name]) for name in own)
    ]
    servers = [
        {
            "servers": section,
            "address": state["url"],
            "in flight": state["in_flight"],
            "answered": state["done"],
            "failed": state["failed"],
            "tokens per second": state["tokens_per_second"],
            "trouble": None if state["healthy"] else state["last_error"],
            "GPU-hours of all": group["gpu_hours"],
            "cost of all": group.get("cost"),
        }
        for section, group in found["servers"].items()
        for state in group["endpoints"]
    ]
    return {"figures": stages, "servers": servers}


def _tables(own: list[str], stages: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    cells = [
        {"stage": name, "cell": cell, **counts}
        for name in own
        for cell, counts in stages[name]["cells"].items()
    ]
    rejections = [
        {"stage": name, "reason": reason, "times": times}
        for name in own
        for reason, times in stages[name]["rejections"].items()
    ]
    return {"cells": cells, "rejections": rejections}


def fails_in_words(work: Callable[P, R]) -> Callable[P, R]:
    """Has a flow fail with the sentence of its error; to be put between `@flow` and the function.

    Who calls the flow has the error itself raised, as ever.
    """

    @wraps(work)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with still_stoppable():
                return work(*args, **kwargs)
        except (SympatheiaError, OSError) as error:
            found = FlowRunContext.get()
            run = found and found.flow_run
            if run and run.run_count <= (run.empirical_policy.retries or 0):
                raise  # what Prefect retries by itself, if that is set, is what is raised
            # What is raised, Prefect tells by its class and with a preface. A state it takes as it
            # is, and raises the error that is in it.
            return cast(R, Failed(message=in_words(error), data=error))

    return told


class _WithoutTrace(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], SympatheiaError | OSError):
            record.exc_info = None
        return True


for name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(name).addFilter(_WithoutTrace())
