"""What is written outlives a power cut: in which order it reaches the disk."""

import errno
import os
import threading
from pathlib import Path

import pytest

from corpus.store.files import Unsynced, make_folder, take_name, whole_file, write_whole


def test_a_file_is_synced_before_it_takes_its_name_and_its_folder_after(tmp_path, synced):
    write_whole(tmp_path / "file", b"whole")
    (temporary, content), (folder, names) = synced
    assert content == b"whole"
    assert temporary != tmp_path / "file"
    assert (folder, names) == (tmp_path, ["file"])


def test_new_folders_are_synced_into_those_above_them(tmp_path, synced):
    make_folder(tmp_path / "a" / "b")
    assert synced == [(tmp_path, ["a"]), (tmp_path / "a", ["b"])]
    make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_a_folder_takes_its_name_when_all_in_it_is_synced(tmp_path, synced):
    new = tmp_path / "new"
    (new / "data").mkdir(parents=True)
    (new / "data" / "shard").write_text("rows")
    take_name(new, tmp_path / "corpus")
    assert {path for path, _ in synced[:-1]} == {new, new / "data", new / "data/shard"}
    assert synced[-1] == (tmp_path, ["corpus"])


def test_a_file_that_cannot_be_finished_leaves_the_old_one_and_no_rubbish(tmp_path):
    write_whole(tmp_path / "file", b"old")
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "file") as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "folder", b"a file cannot take a folder's place")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_many_who_want_their_writes_synced_share_a_turn(tmp_path, monkeypatch):
    unsynced, turns, first, go = Unsynced(), [], threading.Event(), threading.Event()

    def slow(file):
        turns.append(file)
        first.set()
        go.wait(10)

    monkeypatch.setattr(os, "fsync", slow)
    unsynced.add_file(1)
    ones = [threading.Thread(target=unsynced.sync)]
    ones[0].start()
    first.wait(10)
    unsynced.add_file(2)  # while a turn runs, which it is too late for
    ones += [threading.Thread(target=unsynced.sync) for _ in range(20)]
    for one in ones[1:]:
        one.start()
    go.set()
    for one in ones:
        one.join(10)
    assert turns == [1, 2]


def test_a_disk_that_failed_once_is_never_taken_for_synced(monkeypatch):
    unsynced = Unsynced()

    def fail(file):
        raise OSError(errno.EIO, "the disk fails")

    unsynced.add_file(1)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk fails"):
        unsynced.sync()
    monkeypatch.setattr(os, "fsync", lambda file: None)
    with pytest.raises(OSError, match="the disk fails"):
        unsynced.sync()


def test_a_file_system_that_cannot_sync_folders_is_no_failure(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(file):
        if Path(f"/proc/self/fd/{file}").is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(tmp_path / "a" / "file", b"x")
    assert (tmp_path / "a" / "file").read_bytes() == b"x"
