"""Checks the store of a run: whether everything that was paid for is still what it was."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from corpus.errors import SympatheiaError
from corpus.run.run_folder import RunFolder
from corpus.run.up_to_date import Stamp
from corpus.sound.sound_files import Undecodable, decode
from corpus.store.opening import open_store
from corpus.store.store_check import (
    Found,
    check_clips,
    check_records,
    let_go_of_clips,
    let_go_of_records,
)


def check_store(run: RunFolder, *, forget: bool) -> Found:
    """Reads everything in the store of a run.

    Args:
        run: its folder.
        forget: whether what is damaged is let go of, to be made again by the next build.

    Raises:
        InvalidInput: this is not a run folder.
        SympatheiaError: a build is at work and would be disturbed; a shared store cannot be read.
        OSError: the disk fails.
    """
    url = run.read_recipe().storage.url
    found = Found(0, 0, [])
    with run.locked() if forget else nullcontext():
        check_records(run.store, found, at_work=not forget and run.busy)
        if forget:
            let_go_of_records(run.store, found)
        with open_store(run.store, url) as store:
            check_clips(store, found, _is_clip)
            if forget and any(damage.digest for damage in found.damaged):
                Stamp(run.corpus_stamp, run.corpus).drop()  # it may have them
                let_go_of_clips(store, found.damaged)
    return found


def _is_clip(data: bytes) -> bool:
    try:
        decode(data)
    except Undecodable:
        return False
    return True


def as_data(found: Found) -> dict[str, Any]:
    """What was found, as plain data."""
    return {"passed": not found.damaged} | asdict(found)


def require_whole(folder: Path, found: Found) -> None:
    """Passes if nothing is damaged.

    Raises:
        SympatheiaError: something is.
    """
    if found.damaged:
        raise SympatheiaError(
            f"The store of {folder} is damaged in {len(found.damaged):,} places. The next build "
            f"makes again what it needs; 'sympatheia check {folder} --store --forget' lets go of "
            "what is damaged."
        )
