"""The log of a run: one line of JSON for each batch, each failure and each step.

Modules log with the standard library, what happened as the message and the facts as fields
(`extra`). While a run is at work, all of it goes to `log.jsonl` in its folder, where `jq` and log
collectors read it, and warnings are shown on the terminal as well.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

PACKAGES = ("corpus", "flows")
"""Whose loggers are written down."""


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Appends what this project logs while the block runs to a file.

    A process has one run at work: of two, each would log the other's lines too.

    Raises:
        OSError: the file cannot be written.
    """
    file = logging.FileHandler(path, encoding="utf-8")
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
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(file)
        logger.addHandler(terminal)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
            logger.removeHandler(file)
            logger.removeHandler(terminal)
        file.close()
