"""How far a run is: slots full per stage and cell, refusals by reason, rate and time left.

The running build keeps this on file for `sympatheia status`; the display on the terminal reads the
same object.
"""

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from corpus.store import write_whole

WINDOW_SECONDS = 60.0
"""Rates are taken over the last minute: long enough to be steady, short enough to notice a
server that has slowed down."""

WRITE_EVERY_SECONDS = 2.0


@dataclass
class Stage:
    """One stage's counts; `totals` and `full` are by cell."""

    totals: dict[str, int]
    full: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    samples: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def total(self) -> int:
        """Slots of the stage."""
        return sum(self.totals.values())

    @property
    def done(self) -> int:
        """Slots that are full."""
        return self.full.total()

    def snapshot(self, now: float) -> dict[str, Any]:
        """The stage as plain data, with its rate over the last minute as far as it can be told."""
        done, total = self.done, self.total
        if not done:
            self.samples.clear()  # the clock of a stage starts with its first slot
        self.samples.append((now, done))
        while self.samples[0][0] < now - WINDOW_SECONDS:
            self.samples.popleft()
        then, before = self.samples[0]
        rate = (done - before) / (now - then) if now - then >= 1 and done > before else None
        return {
            "done": done,
            "total": total,
            "per_second": rate,
            "seconds_left": 0.0 if done == total else (total - done) / rate if rate else None,
            "cells": {
                cell: {"done": self.full[cell], "total": of} for cell, of in self.totals.items()
            },
            "rejections": dict(self.refusals.most_common()),
        }


class Progress:
    """The counts of a run; `path` None keeps them in memory alone."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written = 0.0
        self._lock = threading.Lock()  # a display reads while the stages count
        self.stages: dict[str, Stage] = {}

    def begin(self, stage: str, totals: dict[str, int]) -> None:
        """Opens a stage, with its number of slots by cell."""
        with self._lock:
            self.stages[stage] = Stage(totals)
        self.write()

    def filled(self, stage: str, cell: str) -> None:
        """One more slot of a cell is full."""
        with self._lock:
            self.stages[stage].full[cell] += 1
        self._write_at_times()

    def refused(self, stage: str, reason: str) -> None:
        """One more candidate was refused."""
        with self._lock:
            self.stages[stage].refusals[reason] += 1
        self._write_at_times()

    def snapshot(self) -> dict[str, Any]:
        """Everything as plain data, stage by stage."""
        now = time.monotonic()
        with self._lock:
            return {name: stage.snapshot(now) for name, stage in self.stages.items()}

    def _write_at_times(self) -> None:
        if time.monotonic() - self._written >= WRITE_EVERY_SECONDS:
            self.write()

    def write(self) -> None:
        """Puts the snapshot on file."""
        self._written = time.monotonic()
        if self._path is not None:
            write_whole(self._path, orjson.dumps(self.snapshot(), option=orjson.OPT_INDENT_2))
