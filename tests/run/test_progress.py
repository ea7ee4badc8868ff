import os
import threading

import orjson
import pytest

from corpus.errors import SympatheiaError
from corpus.run import progress as module
from corpus.run.progress import Progress
from corpus.run.progress_file import read_progress


@pytest.fixture
def path(tmp_path):
    return tmp_path / "progress.json"


def filled_on_file(path):
    return read_progress(path)["stages"]["queries"]["done"]


def test_no_count_is_on_file_before_what_it_counts_is_on_the_disk(path):
    on_file = []
    progress = Progress(path, lambda: on_file.append(path.exists() and filled_on_file(path)))
    progress.begin("queries", {"sad": 2})
    progress.filled("queries", "sad")
    progress.close()
    assert on_file == [False, 0]
    assert filled_on_file(path) == 1


def test_who_counts_does_not_wait_for_the_disk(path, monkeypatch):
    monkeypatch.setattr(module, "WRITE_EVERY_SECONDS", 0.0)
    go = threading.Event()
    progress = Progress(path, lambda: go.wait(10))
    go.set()
    progress.begin("queries", {"sad": 50})
    go.clear()
    for _ in range(50):
        progress.filled("queries", "sad")
    go.set()
    progress.close()
    assert filled_on_file(path) == 50


def test_a_disk_that_fails_ends_the_run_at_the_next_count(path, monkeypatch):
    monkeypatch.setattr(module, "WRITE_EVERY_SECONDS", 0.0)

    def fail():
        raise OSError("the disk fails")

    progress = Progress(path)
    progress.begin("queries", {"sad": 5})
    progress._sync = fail
    with pytest.raises(OSError, match="the disk fails"):
        for _ in range(1000):
            progress.filled("queries", "sad")
            os.sched_yield()


@pytest.mark.parametrize("left", [b"", b"\0" * 80, b"{what?", b"[1]", b'{"stages": [1]}'])
def test_a_damaged_file_is_named_and_begun_anew_by_the_next_build(path, left, caplog):
    path.write_bytes(left)
    with pytest.raises(SympatheiaError, match=r"progress.json is damaged .* begins it anew"):
        read_progress(path)
    progress = Progress(path)
    progress.begin("queries", {"sad": 2})
    assert "progress.json is damaged" in caplog.text
    assert filled_on_file(path) == 0


def test_what_servers_took_before_is_added_to(path):
    servers = {"llm": {"seconds": 60.0, "gpu_hours": None, "cost": None, "endpoints": []}}
    path.write_bytes(orjson.dumps({"stages": {}, "servers": servers}))
    progress = Progress(path)
    with progress.watching("llm", list, gpus=1):
        pass
    progress.close()
    assert read_progress(path)["servers"]["llm"]["seconds"] >= 60.0
