"""Whether there is room for the whole run."""

import shutil
from pathlib import Path

from corpus.plan.blueprint import Blueprint
from corpus.preflight.findings import Check, RunAhead, Seen, failed, passed, warning

QUERY_SECONDS, RESPONSE_SECONDS = 5.0, 13.0
"""A clip of each kind (benchmarks/speech_run.py)."""

SOUND_BYTES = (24_000, 43_400)
"""Of FLAC for each second of sound: of speech as the builtin voice has it, and at most, as noise
takes it (benchmarks/dataset_run.json: 14.05 GB for 18,000 pairs of 18 s)."""

TEXT_BYTES = 1_700
"""Of the store for each text (benchmarks/text_run.py: 52 MB for 30,500)."""


def disk_needed(blueprint: Blueprint, *, speaks: bool) -> tuple[int, int]:
    """Bytes that a whole run takes, at least and at most.

    The store has each text and clip once; the dataset has the clip of a neutral query in each of
    its pairs, and is there twice while it is written anew.
    """
    plan = blueprint.plan
    queries, pairs = plan.query_count, plan.pair_count
    texts = (queries + pairs) * TEXT_BYTES
    if not speaks:
        return texts, texts
    store = queries * QUERY_SECONDS + pairs * RESPONSE_SECONDS
    dataset = pairs * (QUERY_SECONDS + RESPONSE_SECONDS)
    least, most = SOUND_BYTES
    return texts + int(least * (store + dataset)), texts + int(most * (store + 2 * dataset))


def _disk(ahead: RunAhead) -> Seen | None:
    if ahead.blueprint is None:
        return None
    least, most = disk_needed(ahead.blueprint, speaks=ahead.speaks)
    place = ahead.folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    needs = f"the whole run takes {_gigabytes(least)} to {_gigabytes(most)}"
    if free < most:
        there = _size_of(ahead.folder)
        missing, free = _gigabytes(least - there - free), free + there
        if free < least:
            return failed(
                f"{place} has too little room: {needs}, and {missing} more are missing.",
                "Free some space, or put the run elsewhere with --run-dir.",
            )
    if free < most:
        return warning(
            f"{place} may have too little room: {needs}, and {_gigabytes(free)} are free or taken "
            "by the run already.",
            "Free some space, or put the run elsewhere with --run-dir.",
        )
    return passed(f"{place} has {_gigabytes(free)} free, and {needs}.")


def _size_of(folder: Path) -> int:
    """Bytes of what a run has on file; it is counted only where room is short."""
    return sum(
        path.lstat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 5e7 else f"{max(count, 0) / 1e6:,.1f} MB"


DISK: tuple[Check[RunAhead], ...] = (
    Check(
        "disk",
        "Room for the whole run, by the plan and the sizes in [cost](cost.md#disk).",
        _disk,
        cheap=True,
    ),
)
"""What is looked at of the disk."""
