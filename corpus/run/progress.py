"""How far a run is: slots full per stage and cell, refusals, rates, time left, and the servers.

The running build keeps this on file for `sympatheia status`; the display on the terminal reads the
same object. Every so many verdicts of a stage are a line of the run's log.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from corpus.errors import SympatheiaError
from corpus.run.progress_file import read_progress
from corpus.servers.load_balancing import EndpointState
from corpus.store.files import write_whole

WINDOW_SECONDS = 60.0
"""Rates are taken over the last minute: long enough to be steady, short enough to notice a
server that has slowed down."""

WRITE_EVERY_SECONDS = 2.0
BATCH = 256
"""Verdicts of a stage, slots filled and candidates refused, in a line of the log."""

log = logging.getLogger(__name__)


@dataclass
class Rate:
    """How fast a count grows, over the last minute as far as it can be told."""

    samples: deque[tuple[float, int]] = field(default_factory=deque)

    def per_second(self, now: float, count: int) -> float | None:
        """Takes the count of this moment; None until a second of growth was seen."""
        if not count:
            self.samples.clear()  # the clock starts with the first of what is counted
        self.samples.append((now, count))
        while self.samples[0][0] < now - WINDOW_SECONDS:
            self.samples.popleft()
        then, before = self.samples[0]
        return (count - before) / (now - then) if now - then >= 1 and count > before else None


@dataclass
class Batch:
    """What became of a stage's candidates since the last line of the log."""

    filled: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    begun: float = field(default_factory=time.monotonic)

    def __len__(self) -> int:
        return self.filled + self.refused.total()


@dataclass
class Stage:
    """One stage's counts; `totals`, `full` and `refused` are by cell, `refusals` by reason.

    `reports` are by rule: what was kept though it breaks one that only reports.
    """

    totals: dict[str, int]
    full: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    reports: Counter[str] = field(default_factory=Counter)
    rate: Rate = field(default_factory=Rate)
    batch: Batch = field(default_factory=Batch)

    @property
    def total(self) -> int:
        """Slots of the stage."""
        return sum(self.totals.values())

    @property
    def done(self) -> int:
        """Slots that are full."""
        return self.full.total()

    def snapshot(self, now: float) -> dict[str, Any]:
        """The stage as plain data; a cell's acceptance is the share of its candidates kept."""
        done, total = self.done, self.total
        rate = self.rate.per_second(now, done)
        return {
            "done": done,
            "total": total,
            "per_second": rate,
            "seconds_left": 0.0 if done >= total else (total - done) / rate if rate else None,
            "cells": {
                cell: {
                    "done": self.full[cell],
                    "total": of,
                    "refused": self.refused[cell],
                    "acceptance": _share(self.full[cell], self.refused[cell]),
                }
                for cell, of in self.totals.items()
            },
            "rejections": dict(self.refusals.most_common()),
            "reported": dict(self.reports.most_common()),
        }


def _share(full: int, refused: int) -> float | None:
    return full / (full + refused) if full + refused else None


@dataclass
class Servers:
    """The servers of one section of the recipe, and how long this run has had them at work."""

    states: Callable[[], Sequence[EndpointState]]
    gpus: int
    gpu_hour_price: float
    seconds_before: float
    since: float
    until: float | None = None
    rates: dict[str, Rate] = field(default_factory=dict)

    def used(self, now: float) -> dict[str, float | None]:
        """Seconds at work in the run's whole life, and the GPU-hours and cost they make."""
        seconds = self.seconds_before + (self.until or now) - self.since
        hours = seconds / 3600 * self.gpus if self.gpus else None
        cost = hours * self.gpu_hour_price if hours and self.gpu_hour_price else None
        return {"seconds": seconds, "gpu_hours": hours, "cost": cost}

    def snapshot(self, now: float) -> dict[str, Any]:
        """The servers as plain data; tokens per second are those of completions."""
        endpoints = []
        for state in self.states():
            rate = self.rates.setdefault(state.url, Rate())
            tokens = rate.per_second(now, state.completion_tokens)
            endpoints.append(asdict(state) | {"tokens_per_second": tokens})
        return {**self.used(now), "endpoints": endpoints}


class Progress:
    """The counts of a run.

    They are written by a thread, so that nobody who counts waits for the disk.

    Args:
        path: where they are kept on file; None keeps them in memory alone.
        sync: returns when the disk has what was counted, which no count may outlive.
    """

    def __init__(self, path: Path | None, sync: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._sync = sync
        self._written = 0.0
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._lock = threading.Lock()  # a display reads while the stages count
        self.stages: dict[str, Stage] = {}
        self._servers: dict[str, Servers] = {}
        self._earlier = _servers_on_file(path)

    @contextmanager
    def watching(
        self,
        section: str,
        states: Callable[[], Sequence[EndpointState]],
        gpus: int,
        gpu_hour_price: float = 0.0,
    ) -> Iterator[None]:
        """Shows the servers of a section of the recipe for as long as the block runs.

        Their time at work is added to that of earlier builds of the run.

        Args:
            section: the recipe's section that names them.
            states: what they are doing now.
            gpus: how many GPUs they have, all together; 0 when that is not known.
            gpu_hour_price: what an hour of one costs; 0 when that is not known.
        """
        before = self._earlier.get(section, {}).get("seconds", 0.0)
        servers = Servers(states, gpus, gpu_hour_price, before, time.monotonic())
        with self._lock:
            self._servers[section] = servers
        try:
            yield
        finally:
            last = list(states())
            with self._lock:
                servers.until, servers.states = time.monotonic(), lambda: last

    def begin(self, stage: str, totals: dict[str, int]) -> None:
        """Opens a stage, with its number of slots by cell."""
        with self._lock:
            self.stages[stage] = Stage(totals)
        self.write()

    def filled(self, stage: str, cell: str) -> None:
        """One more slot of a cell is full."""
        with self._lock:
            self.stages[stage].full[cell] += 1
            self.stages[stage].batch.filled += 1
            self._log_batch(stage, BATCH)
        self._write_at_times()

    def refused(self, stage: str, cell: str, reason: str) -> None:
        """One more candidate for a cell was refused."""
        with self._lock:
            self.stages[stage].refused[cell] += 1
            self.stages[stage].refusals[reason] += 1
            self.stages[stage].batch.refused[reason] += 1
            self._log_batch(stage, BATCH)
        self._write_at_times()

    def reported(self, stage: str, rules: Iterable[str]) -> None:
        """What was kept breaks some rules that only report."""
        with self._lock:
            self.stages[stage].reports.update(rules)

    def _log_batch(self, name: str, least: int) -> None:
        stage = self.stages[name]
        if len(stage.batch) < least:
            return
        facts = {
            "stage": name,
            "filled": stage.batch.filled,
            "refused": dict(stage.batch.refused),
            "done": stage.done,
            "total": stage.total,
            "seconds": round(time.monotonic() - stage.batch.begun, 3),
        }
        log.info("batch", extra=facts)
        stage.batch = Batch()

    def snapshot(self) -> dict[str, Any]:
        """Everything as plain data: the stages, and the servers by section of the recipe."""
        now = time.monotonic()
        with self._lock:
            servers = {name: group.snapshot(now) for name, group in self._servers.items()}
            return {
                "stages": {name: stage.snapshot(now) for name, stage in self.stages.items()},
                "servers": self._earlier | servers,
            }

    def used(self, what: str) -> float:
        """The "gpu_hours" or the "cost" of the run until now, as far as they are known."""
        now = time.monotonic()
        with self._lock:
            groups = self._earlier | {name: one.used(now) for name, one in self._servers.items()}
        return sum(group.get(what) or 0.0 for group in groups.values())

    def _write_at_times(self) -> None:
        if self._path is None or time.monotonic() - self._written < WRITE_EVERY_SECONDS:
            return
        if self._writing is None or self._writing.done():
            if self._writing is not None:
                self._writing.result()
            self._writing = self._writer.submit(self.write)

    def close(self) -> None:
        """Logs what is left of every batch, and puts the snapshot on file.

        Raises:
            OSError: the disk is full or fails.
        """
        with self._lock:
            for stage in self.stages:
                self._log_batch(stage, 1)
        self._writer.shutdown()
        self.write()

    def write(self) -> None:
        """Puts the snapshot on file.

        Raises:
            OSError: the disk is full or fails.
        """
        self._written = time.monotonic()
        if self._path is not None:
            snapshot = orjson.dumps(self.snapshot(), option=orjson.OPT_INDENT_2)
            self._sync()
            write_whole(self._path, snapshot)


def _servers_on_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return dict(read_progress(path)["servers"])
    except SympatheiaError as error:
        log.warning("%s What the servers took until now is forgotten.", error)
        return {}
