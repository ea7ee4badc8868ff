"""The log of a run: one line of JSON for each batch, each failure and each step.

Modules log with the standard library, what happened as the message and the facts as fields
(`extra`). While a run is at work, all of it goes to `log.jsonl` in its folder, where `jq` and log
collectors read it, and warnings are shown on the terminal as well.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

PACKAGES = ("corpus", "flows")
"""Whose loggers are written down."""


class _File(logging.FileHandler):
    """Writes whole lines behind whole lines; says once, in a sentence, when it no longer can."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._full = False
        if path.exists():  # what a kill has torn off would spoil the next line too
            with path.open("rb+") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
        super().__init__(path, encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the library's name)
        if not self._full:
            self._full = True
            reason = sys.exc_info()[1]
            print(f"{self._path} cannot be written any more: {reason}", file=sys.stderr)  # noqa: T201

    def close(self) -> None:
        # What is left in its buffer has no room either, and what ended the run matters more.
        with suppress(OSError):
            super().close()


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Appends what this project logs while the block runs to a file.

    A process has one run at work: of two, each would log the other's lines too.

    Raises:
        OSError: the file cannot be written.
    """
    file = _File(path)
    file.setFormatter(
        JsonFormatter(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "module", "message": "event"},
            timestamp="time",
        )
    )
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.propagate = False  # Prefect's handler at the root would print every line
        logger.addHandler(file)
        logger.addHandler(terminal)
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate = propagate
            logger.removeHandler(file)
            logger.removeHandler(terminal)
        file.close()
