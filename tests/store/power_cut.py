"""A run whose power is cut: what the disk had of its folder at some moment, and what it lost.

The run is a process of its own, in which every `os.fsync` is noted in a journal: of a file, how
many bytes it had, of a folder, which names; all else might be lost. At a moment of the test's
choice the process is stopped, and `cut` makes of its folder what a power cut could have left: each
name is as it was synced or as it is now, so renames and removals may be undone; what a file had
when it was synced is there, and of the rest all, a part, nothing, zeros, or zeros in its midst.
What was synced and replaced since is kept under hard links, as a disk would keep it.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import orjson

from corpus.dataset.shard_writer import write_corpus
from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.speech import builtin_voice
from corpus.speech.clip_requests import Clip, ClipRequest
from corpus.speech.speech_stage import speak_all
from corpus.store import digest_store
from tests.support.line import open_run, write_run

Inodes = dict[str, int]


speak_once = cache(builtin_voice.speak)
"""Of two runs in one process, the second need not compute what the voice said to the first."""


class ThreadVoice:
    """The builtin voice in a thread of this process, which starts at once."""

    model = builtin_voice.MODEL_NAME
    takes_points = True
    at_once = 2

    def __init__(self) -> None:
        self.spoken = 0

    async def speak(self, request: ClipRequest, what: str) -> Clip:
        self.spoken += 1
        return await asyncio.to_thread(speak_once, request)


def build(folder: Path, blueprint: Blueprint) -> tuple[RunFolder, int]:
    """A whole run in this process, without Prefect; also how many clips were spoken."""
    run = write_run(folder, blueprint)
    voice = ThreadVoice()
    with open_run(run, blueprint) as opened:
        asyncio.run(speak_all(opened, voice))
        write_corpus(opened)
    return run, voice.spoken


# In the process of the run


def note_syncs(notes: Path) -> None:
    """From here on, notes what this process syncs."""
    journal = os.open(notes / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    real = os.fsync

    def keep(path: Path, inode: int) -> None:
        with suppress(OSError):  # it is kept already, or is a folder, or has another name by now
            os.link(path, notes / str(inode))

    def fsync(file: int) -> None:
        path, status = Path(f"/proc/self/fd/{file}").readlink(), os.fstat(file)
        if path.is_dir():
            names = {entry.name: entry.inode() for entry in os.scandir(path)}
            note: dict[str, object] = {"folder": status.st_ino, "names": names}
        else:
            names = {path.name: status.st_ino}
            note = {"file": status.st_ino, "size": status.st_size}
        for name, inode in names.items():
            keep(path / name if path.is_dir() else path, inode)
        real(file)
        os.write(journal, orjson.dumps(note) + b"\n")

    os.fsync = fsync


def main() -> None:
    notes, folder, recipe, *settings = sys.argv[1:]
    note_syncs(Path(notes))
    # What rests on others must not need the luck that they were synced by the clock just before.
    digest_store.SYNC_EVERY_SECONDS = 3600.0
    build(Path(folder), Blueprint.named(recipe, settings))


# In the test


class PoweredRun:
    """A run in a process of its own, which `cut` may stop at any moment; a context manager.

    Args:
        folder: of the run; it is made.
        notes: a folder for the journal, on the same disk.
        recipe: what is built.
        settings: overrides of the recipe.
    """

    def __init__(self, folder: Path, notes: Path, recipe: Path, *settings: str) -> None:
        self.folder = folder
        self._notes = notes
        for made in (folder, notes):
            made.mkdir()
        command = [sys.executable, "-m", __name__, str(notes), str(folder), str(recipe)]
        self._process = subprocess.Popen([*command, *settings], start_new_session=True)

    def __enter__(self) -> "PoweredRun":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Ends it at once, if it has not ended."""
        self._process.kill()
        self._process.wait()

    @property
    def syncs(self) -> int:
        """How many there were."""
        journal = self._notes / "journal"
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    @property
    def ended(self) -> bool:
        """Whether it came to its end, as it should."""
        code = self._process.poll()
        assert not code, "the run failed"
        return code is not None

    def wait_for_syncs(self, count: int) -> None:
        """Returns when there were so many, or the run has ended."""
        while self.syncs < count and not self.ended:
            time.sleep(0.001)

    def cut(self, target: Path, chance: random.Random | None = None) -> None:
        """Makes in `target` what a power cut at this moment could leave of the folder.

        Args:
            target: a folder that is not there yet.
            chance: decides what is left of all that was not synced; nothing is if None.
        """
        ended = self.ended
        if not ended:
            self._process.send_signal(signal.SIGSTOP)
            os.waitpid(self._process.pid, os.WUNTRACED)
        try:
            _Disk(self._notes, self.folder, chance).write(self.folder.stat().st_ino, target)
        finally:
            if not ended:
                self._process.send_signal(signal.SIGCONT)


class _Disk:
    """What the disk had, by the journal, and what is there now."""

    def __init__(self, notes: Path, folder: Path, chance: random.Random | None) -> None:
        self._chance = chance
        self._sizes: dict[int, int] = {}
        self._names: dict[int, Inodes] = {}
        self._paths = {int(kept.name): kept for kept in notes.iterdir() if kept.name.isdigit()}
        for line in (notes / "journal").read_text().splitlines():
            note = json.loads(line)
            if "folder" in note:
                self._names[note["folder"]] = note["names"]
            else:
                self._sizes[note["file"]] = note["size"]
        self._paths |= {path.stat().st_ino: path for path in (folder, *folder.rglob("*"))}

    def write(self, inode: int, target: Path) -> None:
        """Writes what is left of a folder, or of a file."""
        path = self._paths[inode]
        if not path.is_dir():
            target.write_bytes(self._left_of(path.read_bytes(), self._sizes.get(inode, 0)))
            return
        target.mkdir()
        now = {entry.name: entry.inode() for entry in os.scandir(path)}
        for name, left in self._names_left(self._names.get(inode, {}), now):
            if left in self._paths:
                self.write(left, target / name)

    def _names_left(self, synced: Inodes, now: Inodes) -> Iterator[tuple[str, int]]:
        for name in sorted(synced.keys() | now.keys()):
            was, is_now = synced.get(name), now.get(name)
            left = self._chance.choice((was, is_now)) if self._chance else was
            if left is not None and name != ".lock":
                yield name, left

    def _left_of(self, data: bytes, synced: int) -> bytes:
        rest = data[synced:]
        if not self._chance:
            return data[:synced]
        start, end = sorted(self._chance.randrange(len(rest) + 1) for _ in range(2))
        zeroed = rest[:start] + bytes(end - start) + rest[end:]
        return data[:synced] + self._chance.choice(
            (rest, b"", rest[:end], bytes(len(rest)), zeroed, zeroed[:end])
        )


if __name__ == "__main__":
    main()
