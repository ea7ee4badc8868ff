"""The store shared by several runs: on a local S3 that misbehaves, and on a file system."""

import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from corpus.dataset.shard_writer import READ_AHEAD, _clips
from corpus.errors import InvalidInput, SympatheiaError
from corpus.store import shared_store
from corpus.store.append_only_records import KEPT_OPEN, Records
from corpus.store.digest_store import Store
from corpus.store.opening import open_store
from tests.support.s3_server import Fault


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(shared_store, "SHARE_EVERY_SECONDS", 0.05)


RECORDS = "store/records/"


def digest(text):
    return sha256(str(text).encode()).hexdigest()


def put(root, url, **records):
    with open_store(root, url) as store:
        for name, value in records.items():
            store.completions.put(digest(name), {"text": value})


def texts(root, url, names):
    with open_store(root, url) as store:
        found = [store.completions.get(digest(name)) for name in names]
    return [record and record["text"] for record in found]


def segments(root):
    return sorted(path.name for path in root.glob("completions/*.jsonl"))


def sent(requests):
    """What was put there, but for what every opening puts to see that it may."""
    return [line for line in requests if line.startswith("PUT") and "/opened" not in line]


# Records


@pytest.mark.parametrize("place", ["s3", "folder", "file", "memory"])
def test_a_record_of_one_run_is_found_by_another(tmp_path, request, place):
    shared = {
        "s3": lambda: request.getfixturevalue("url"),
        "folder": lambda: str(tmp_path / "shared folder"),
        "file": lambda: (tmp_path / "shared").as_uri(),
        "memory": lambda: f"memory://{secrets.token_hex(4)}",
    }[place]()
    put(tmp_path / "one", shared, a="of one")
    with open_store(tmp_path / "two", shared) as store:
        assert store.completions.get(digest("a")) == {"text": "of one"}
        store.clips.put(digest("clip"), b"sound")
        assert digest("clip") in store.clips
    with open_store(tmp_path / "one", shared) as store:
        assert digest("clip") in store.clips
        assert store.clips.read(digest("clip")) == b"sound"
        assert digest("other") not in store.clips
        assert list(store.completions.values()) == [{"text": "of one"}]
    with open_store(tmp_path / "two", shared) as store:
        assert list(store.completions.values()) == []  # it made none itself


def test_what_was_fetched_is_read_without_the_shared_place(tmp_path, url):
    put(tmp_path / "one", url, a="of one")
    put(tmp_path / "two", url)
    assert texts(tmp_path / "two", "", "a") == ["of one"]


def test_own_records_win_then_what_was_seen_first_then_the_earliest(tmp_path, url):
    put(tmp_path / "own", "", a="own")
    put(tmp_path / "early", "", a="early", b="early", c="early")
    put(tmp_path / "late", "", a="late", b="late", c="late", d="late")
    put(tmp_path / "late", url)
    put(tmp_path / "seen", url)
    put(tmp_path / "early", url)
    assert texts(tmp_path / "own", url, "abcd") == ["own", "early", "early", "late"]
    # What was decided on "late" before "early" arrived stays decided.
    assert texts(tmp_path / "seen", url, "bd") == ["late", "late"]
    assert texts(tmp_path / "early", url, "ad") == ["early", "late"]


def test_segments_with_names_of_old_are_shared_too(tmp_path, url):
    put(tmp_path / "one", "", a="old")
    (path,) = (tmp_path / "one").glob("completions/*.jsonl")
    path.rename(path.with_name("0123456789abcdef.jsonl"))
    put(tmp_path / "one", url)
    assert texts(tmp_path / "two", url, "a") == ["old"]


def test_nothing_is_sent_twice_and_what_is_short_is_sent_again(tmp_path, url, s3, bucket):
    put(tmp_path / "one", url, a="x", b="y")
    whole = s3.objects(bucket, RECORDS)
    ((name, content),) = whole.items()
    s3.requests.clear()
    put(tmp_path / "one", url)
    assert sent(s3.requests) == []
    s3.client.put_object(Bucket=bucket, Key=name, Body=content[:-7])
    assert texts(tmp_path / "two", url, "ab") == ["x", None]
    put(tmp_path / "one", url)
    assert s3.objects(bucket, RECORDS) == whole
    assert texts(tmp_path / "two", url, "ab") == ["x", "y"]


def test_what_a_lost_machine_had_sent_is_fetched_and_never_cut_short(tmp_path, url, bucket, s3):
    put(tmp_path / "run", url, one="first", two="second")
    (name,) = segments(tmp_path / "run")
    own = tmp_path / "run" / "completions" / name
    own.write_bytes(own.read_bytes().splitlines(keepends=True)[0])  # what the disk still has
    assert texts(tmp_path / "run", url, ["one", "two"]) == ["first", "second"]
    assert texts(tmp_path / "other", url, ["one", "two"]) == ["first", "second"]


def test_clips_from_before_the_store_was_shared_are_not_made_again(tmp_path, url):
    with Store(tmp_path / "run") as store:
        store.clips.put(digest("clip"), b"sound")
    with open_store(tmp_path / "run", url) as store:
        assert digest("clip") in store.clips
        assert store.clips.read(digest("clip")) == b"sound"
    with open_store(tmp_path / "other", url) as store:
        assert digest("clip") in store.clips
        assert digest("none") not in store.clips


def test_a_run_shares_while_it_works_in_segments_that_never_change(tmp_path, url, s3, bucket, soon):
    with open_store(tmp_path / "one", url) as store:
        for number in range(3):
            store.completions.put(digest(number), {"text": str(number)})
            while len(s3.objects(bucket, RECORDS)) <= number:
                pass
            assert texts(tmp_path / "two", url, range(number + 1))[-1] == str(number)
    puts = sent(s3.requests)
    assert len(puts) == len(set(puts)) == 3 == len(segments(tmp_path / "one"))


def test_many_segments_do_not_use_up_the_open_files(tmp_path):
    records = Records(tmp_path, {})
    for number in range(3 * KEPT_OPEN):
        records.put(digest(number), {"n": number})
        assert records.end_segment() is not None
    again = Records(tmp_path, {})
    for number in range(3 * KEPT_OPEN):
        assert records.get(digest(number)) == again.get(digest(number)) == {"n": number}
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    records.close()
    again.close()
    assert open_files - len(list(Path("/proc/self/fd").iterdir())) <= 2 * KEPT_OPEN


WRITE = """
import sys
from hashlib import sha256
from pathlib import Path
from corpus.store.opening import open_store
root, url, name, count = sys.argv[1:]
with open_store(Path(root), url) as store:
    for number in range(int(count)):
        digest = sha256(f"{name}{number}".encode()).hexdigest()
        store.completions.put(digest, {"text": f"{name}{number}"})
        if number % 10 == 0:
            store.clips.put(digest, name.encode())
    print("put", flush=True)
    if name == "killed":
        sys.stdin.read()
"""


def writing(*arguments):
    command = [sys.executable, "-c", WRITE, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, env=dict(os.environ))


def test_a_kill_between_puts_loses_nothing(tmp_path, url, s3, bucket):
    with writing(tmp_path / "one", url, "killed", 30) as process:
        assert process.stdout.readline() == b"put\n"
        process.send_signal(signal.SIGKILL)
    (segment,) = (tmp_path / "one").glob("completions/*.jsonl")
    with segment.open("ab") as file:
        file.write(b"a line that the kill has torn")
    names = [f"killed{number}" for number in range(30)]
    assert texts(tmp_path / "one", url, names) == names
    sent_on = s3.objects(bucket, f"{RECORDS}completions")
    assert list(sent_on.values()) == [segment.read_bytes().rpartition(b"\n")[0] + b"\n"]
    with open_store(tmp_path / "two", url) as store:
        assert [store.completions.get(digest(name))["text"] for name in names] == names
        assert [name for name in names if digest(name) in store.clips] == names[::10]


def test_two_writers_at_once_come_to_the_union(tmp_path, url):
    writers = [writing(tmp_path / name, url, name, 60) for name in ("red", "blue")]
    assert [writer.communicate(timeout=60) and writer.returncode for writer in writers] == [0, 0]
    names = [f"{name}{number}" for name in ("red", "blue") for number in range(60)]
    for run in ("red", "blue", "new"):
        assert texts(tmp_path / run, url, names) == names


# Clips


def test_a_clip_is_one_request_each_way_and_which_there_are_is_one_listing(tmp_path, url, s3):
    with open_store(tmp_path / "one", url) as store:
        for number in range(5):
            store.clips.put(digest(number), b"sound")
    s3.requests.clear()
    with open_store(tmp_path / "two", url) as store:
        assert sum(digest(number) in store.clips for number in range(100)) == 5
        store.clips.put(digest(5), b"more")
        assert digest(5) in store.clips
        assert {store.clips.read(digest(number)) for number in range(5)} == {b"sound"}
    kinds = [line.partition(" ")[0] for line in s3.requests if "clips" in line]
    assert sorted(kinds) == ["GET"] * (1 + 5) + ["PUT"]
    assert not list((tmp_path / "two").glob("clips/**/*"))


@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_listed_clip_that_is_gone_is_named_and_made_anew(tmp_path, url, s3, bucket, damage):
    name = digest("a")
    with open_store(tmp_path / "one", url) as store:
        store.clips.put(name, b"sound")
        key = f"store/clips/{name[:2]}/{name}.flac"
        if damage == "gone":
            s3.client.delete_object(Bucket=bucket, Key=key)
        else:
            s3.client.put_object(Bucket=bucket, Key=key, Body=b"")
        with pytest.raises(SympatheiaError, match=f"{name}.* gone or empty. Run the same command"):
            store.clips.read(name)
    with open_store(tmp_path / "one", url) as store:
        assert name not in store.clips
        store.clips.put(name, b"sound")
        assert store.clips.read(name) == b"sound"


def test_packing_reads_a_bounded_number_of_clips_ahead_in_order():
    wanted, waiting, began = threading.Event(), [], []

    class Slow:
        def read(self, name):
            began.append(name)
            if name == "1":
                wanted.wait(10)
            return name.encode()

        def vouched_for(self, name):
            return True

    class Shelf:
        clips = Slow()

    def rows():
        for number in range(100):
            waiting.append(number)
            yield {"digest": str(number)}

    read = _clips(Shelf(), rows())
    assert next(read)[1] == b"0"
    assert len(waiting) == READ_AHEAD + 1
    while len(began) < READ_AHEAD:  # the others do not wait for the slow one
        pass
    wanted.set()
    assert [data for _, data in read] == [str(number).encode() for number in range(1, 100)]


# Failures


@pytest.mark.parametrize("kind", ["slow down", "error", "drop", "slow", "short"])
def test_a_passing_failure_is_survived(tmp_path, url, s3, kind):
    what = ("GET .*list-type", "PUT .*jsonl", "GET .*jsonl", "PUT .*flac", "GET .*flac")
    s3.faults = [Fault(kind, pattern) for pattern in what]
    with open_store(tmp_path / "one", url) as store:
        store.completions.put(digest("a"), {"text": "x"})
        store.clips.put(digest("a"), b"sound")
        assert store.clips.read(digest("a")) == b"sound"
    assert texts(tmp_path / "two", url, "a") == ["x"]
    assert s3.hit == [kind] * 5


def test_uploads_that_fail_on_the_way_are_logged_and_made_up_for(
    tmp_path, url, s3, bucket, soon, caplog
):
    s3.faults = [Fault("error", "PUT .*records", 4)]
    with caplog.at_level(logging.WARNING), open_store(tmp_path / "one", url) as store:
        store.completions.put(digest("a"), {"text": "x"})
        while not s3.objects(bucket, RECORDS):
            pass
    assert "new records could not be sent" in caplog.text
    assert "tried again" in caplog.text
    assert texts(tmp_path / "two", url, "a") == ["x"]


def test_what_cannot_be_sent_at_the_end_is_kept_and_sent_by_the_next(tmp_path, url, s3, caplog):
    s3.faults = [Fault("error", "PUT .*records", 99)]
    with pytest.raises(SympatheiaError, match=r"storage\.url.*are kept in .*same command.*sends"):
        put(tmp_path / "one", url, a="x")
    with pytest.raises(ZeroDivisionError), open_store(tmp_path / "three", url) as store:
        store.completions.put(digest("b"), {"text": "y"})
        raise ZeroDivisionError
    assert "The same command, run again, sends them" in caplog.text
    s3.faults = []
    assert texts(tmp_path / "one", url, "a") == ["x"]
    assert texts(tmp_path / "two", url, "a") == ["x"]


def test_a_clip_that_cannot_be_kept_or_read_is_a_sentence(tmp_path, url, s3):
    with open_store(tmp_path / "one", url) as store:
        store.clips.put(digest("b"), b"sound")
        s3.faults = [Fault("error", "flac", 99)]
        with pytest.raises(SympatheiaError, match=r"storage\.url: clips/.* cannot be written"):
            store.clips.put(digest("a"), b"sound")
        with pytest.raises(SympatheiaError, match=r"storage\.url: clips/.* cannot be read"):
            store.clips.read(digest("b"))
        assert digest("a") not in store.clips


def test_a_place_that_cannot_be_used_is_a_sentence(tmp_path, url, s3, monkeypatch):
    with pytest.raises(InvalidInput, match=r"storage\.url: nowhere://x/y cannot be opened"):
        open_store(tmp_path, "nowhere://x/y")
    with pytest.raises(SympatheiaError, match=r"storage\.url: s3://no-such-bucket/x .*not exist"):
        open_store(tmp_path, "s3://no-such-bucket/x")
    assert "no-such-bucket" not in str(s3.client.list_buckets())  # nor was it made
    s3.faults = [Fault("error", "PUT .*opened", 2)]
    with pytest.raises(
        SympatheiaError, match=r"storage\.url: .*internal error.*may read and write"
    ):
        open_store(tmp_path, url)
    S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someoneElse")
    with pytest.raises(SympatheiaError, match=r"storage\.url: .*access key is not known"):
        open_store(tmp_path, url)
    S3FileSystem.clear_instance_cache()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(SympatheiaError, match=r"storage\.url: .*Unable to locate credentials"):
        open_store(tmp_path, url)
