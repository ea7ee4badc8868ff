import os

import pytest

from corpus.errors import SympatheiaError
from corpus.store.line_log import Log, read_log


@pytest.fixture
def path(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log.append([{"n": 1}, {"n": 2}])
    log.close()
    return tmp_path / "log.jsonl"


@pytest.mark.parametrize(
    "torn", [b'{"n": 3', b"\0" * 50, b"\0" * 50 + b"\n", b'\0\0\0: 3}\n{"n": 4}\n']
)
def test_a_log_goes_on_after_what_a_power_cut_left_of_an_append(path, torn):
    with path.open("ab") as file:
        file.write(torn)
    assert read_log(path) == [{"n": 1}, {"n": 2}]
    log = Log(path)
    assert log.entries == [{"n": 1}, {"n": 2}]
    log.append([{"n": 4}])
    log.close()
    assert path.read_bytes() == b'{"n":1}\n{"n":2}\n{"n":4}\n'


@pytest.mark.parametrize("line", [b"{what?\n", b"[1]\n", b'"x"\n', b"null\n", b"\xff\n"])
def test_a_line_that_was_changed_is_named_and_nothing_is_cut_off(path, line):
    changed = line + path.read_bytes()
    path.write_bytes(changed)
    for read in (read_log, Log):
        with pytest.raises(SympatheiaError, match=r"log.jsonl is damaged \(line 1.* or delete it"):
            read(path)
    assert path.read_bytes() == changed


def test_entries_are_on_the_disk_when_append_returns(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(path.read_bytes()))
    log = Log(path)
    log.append([{"n": 3}])
    log.append([])
    log.close()
    assert synced == [b'{"n":1}\n{"n":2}\n{"n":3}\n']
