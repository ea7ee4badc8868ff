import errno
import resource
import subprocess
import sys
from hashlib import sha256

import pytest

from corpus.errors import SympatheiaError
from corpus.store.digest_store import Blobs, Log, Records, read_log, write_whole


def digest(text):
    return sha256(text.encode()).hexdigest()


def test_a_record_is_found_again_by_a_new_process(tmp_path):
    records = Records(tmp_path)
    for number in range(50):
        records.put(digest(str(number)), {"number": number, "text": "é" * number})
    records.close()
    again = Records(tmp_path)
    assert len(again) == 50
    assert again.get(digest("49")) == {"number": 49, "text": "é" * 49}
    assert again.get(digest("50")) is None
    assert digest("7") in again
    assert digest("70") not in again


def test_the_first_answer_to_a_request_stays(tmp_path):
    records = Records(tmp_path)
    records.put(digest("a"), {"n": 1})
    records.put(digest("a"), {"n": 2})
    assert records.get(digest("a")) == {"n": 1}


def test_several_writers_share_a_folder(tmp_path):
    one, two = Records(tmp_path), Records(tmp_path)
    one.put(digest("1"), {"n": 1})
    two.put(digest("2"), {"n": 2})
    one.put(digest("3"), {"n": 3})
    both = Records(tmp_path)
    assert [both.get(digest(name))["n"] for name in "123"] == [1, 2, 3]


@pytest.mark.parametrize("kept", [1, 60, 66, 70, -1])
def test_a_line_torn_by_a_kill_is_as_if_never_written(tmp_path, kept):
    records = Records(tmp_path)
    records.put(digest("whole"), {"n": 1})
    records.put(digest("torn"), {"n": 2})
    records.close()
    (segment,) = tmp_path.glob("*.jsonl")
    first, second = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(first + second[:kept])
    again = Records(tmp_path)
    assert again.get(digest("whole")) == {"n": 1}
    assert again.get(digest("torn")) is None
    again.put(digest("torn"), {"n": 3})
    assert Records(tmp_path).get(digest("torn")) == {"n": 3}


def test_a_damaged_record_is_named_not_returned(tmp_path):
    records = Records(tmp_path)
    records.put(digest("a"), {"text": "hello"})
    records.close()
    (segment,) = tmp_path.glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"text"', b'"te"t"'[:6]))
    with pytest.raises(SympatheiaError, match="damaged; delete its line"):
        Records(tmp_path).get(digest("a"))


FILL = """
import resource, signal, sys
from hashlib import sha256
from pathlib import Path
from corpus.store.digest_store import Records
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
records = Records(Path(sys.argv[1]))
written = 0
try:
    for number in range(1000):
        records.put(sha256(str(number).encode()).hexdigest(), {"text": "x" * 300})
        written += 1
except OSError as error:
    print(written, error.errno)
"""


def test_a_full_disk_costs_the_record_at_hand_and_no_other(tmp_path):
    # A limit on file size stands for the full disk: a write falls short, the next one fails.
    ran = subprocess.run(
        [sys.executable, "-c", FILL, tmp_path], capture_output=True, text=True, check=True
    )
    written, error = map(int, ran.stdout.split())
    assert error == errno.EFBIG
    assert 0 < written < 1000
    (segment,) = tmp_path.glob("*.jsonl")
    assert segment.read_bytes().endswith(b"}\n")
    assert len(Records(tmp_path)) == written


def test_blobs_appear_whole_and_leave_no_rubbish(tmp_path, monkeypatch):
    blobs = Blobs(tmp_path, ".flac")
    blobs.put(digest("a"), b"sound")
    assert blobs.path(digest("a")).read_bytes() == b"sound"
    assert digest("a") in blobs
    assert digest("b") not in blobs
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError):
        write_whole(target, b"a file cannot take a folder's place")
    assert [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_a_log_goes_on_after_a_torn_line(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path)
    log.append([{"n": 1}, {"n": 2}])
    log.close()
    with path.open("ab") as file:
        file.write(b'{"n": 3')
    assert read_log(path) == [{"n": 1}, {"n": 2}]
    log = Log(path)
    assert log.entries == [{"n": 1}, {"n": 2}]
    log.append([{"n": 4}])
    log.close()
    assert read_log(path) == [{"n": 1}, {"n": 2}, {"n": 4}]


def test_memory_per_record_stays_small(tmp_path):
    records = Records(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(20_000):
        records.put(digest(str(number)), {"text": "x" * 2000})
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 20_000 * 500
    assert next(tmp_path.glob("*.jsonl")).stat().st_size > 20_000 * 2000


def test_what_is_forgotten_may_be_put_anew_and_stays_so(tmp_path):
    records = Records(tmp_path)
    records.put(digest("a"), {"seconds": 1})
    records.forget(digest("a"))
    assert digest("a") not in records and records.get(digest("a")) is None
    records.put(digest("a"), {"seconds": 2})
    records.forget(digest("b"))  # there is none
    records.close()
    again = Records(tmp_path)
    assert again.get(digest("a")) == {"seconds": 2}
    again.forget(digest("a"))
    again.close()
    assert digest("a") not in Records(tmp_path)
