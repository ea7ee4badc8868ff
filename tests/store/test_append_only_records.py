import errno
import logging
import resource
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from corpus.store import segments
from corpus.store.append_only_records import Records as OfShape
from corpus.store.digest_store import SHAPES
from corpus.store.segments import drop_damaged, line_of, name_behind


def Records(folder, **shape):  # noqa: N802 (most tests put records of no shape)
    return OfShape(folder, shape)


def digest(text):
    return sha256(text.encode()).hexdigest()


def put(folder, **records):
    opened = Records(folder)
    for name, n in records.items():
        opened.put(digest(name), {"n": n})
    opened.close()


def found(folder, names):
    opened = Records(folder)
    values = [opened.get(digest(name)) for name in names]
    opened.close()
    return [value and value["n"] for value in values]


def segment(folder):
    (path,) = folder.glob("*.jsonl")
    return path


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
    assert found(tmp_path, "123") == [1, 2, 3]


# Damage


DAMAGE = {
    "a changed digit": lambda line: line.replace(b'"n":2', b'"n":7'),
    "a changed digest": lambda line: (b"f" if line[:1] != b"f" else b"0") + line[1:],
    "a digest that is none": lambda line: b"z" * 64 + line[64:],
    "a digest with a space": lambda line: line[:30] + b" " + line[31:],
    "another checksum": lambda line: line[:-9] + b"00000000\n",
    "zeros": lambda line: b"\0" * (len(line) - 1) + b"\n",
    "zeros and no end": lambda line: line[:40] + b"\0" * (len(line) - 40),
    "no JSON": lambda line: line[:65] + b"{}x}\n",
    "no object": lambda line: line[:65] + b"[1]\n",
    "an empty line": lambda line: b"\n",
    "the rest of a line": lambda line: line[20:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_in_the_middle_costs_that_record_alone(tmp_path, damage, caplog):
    put(tmp_path, one=1, two=2, three=3)
    path = segment(tmp_path)
    one, two, three = path.read_bytes().splitlines(keepends=True)
    broken = damage(two)
    path.write_bytes(one + broken + three)
    swallowed = not broken.endswith(b"\n")  # with its end went the beginning of the next
    assert found(tmp_path, ["one", "two", "three"]) == [1, None, None if swallowed else 3]
    assert f"{path} has damaged lines (1, the first at byte {len(one)})" in caplog.text
    put(tmp_path, two=4, three=3)
    assert found(tmp_path, ["one", "two", "three"]) == [1, 4, 3]


@pytest.mark.parametrize("kept", [1, 60, 66, 70, -1])
def test_a_line_torn_by_a_kill_is_as_if_never_written(tmp_path, kept, caplog):
    put(tmp_path, whole=1, torn=2)
    path = segment(tmp_path)
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:kept])
    caplog.set_level(logging.INFO)
    assert found(tmp_path, ["whole", "torn"]) == [1, None]
    assert [(r.message, r.byte) for r in caplog.records] == [("torn", len(first))]
    put(tmp_path, torn=3)
    assert found(tmp_path, ["whole", "torn"]) == [1, 3]


def test_a_record_damaged_after_the_opening_counts_as_none(tmp_path, caplog):
    records = Records(tmp_path)
    records.put(digest("a"), {"text": "hello"})
    path = segment(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"hello", b"he\0\0o"))
    assert records.get(digest("a")) is None
    assert digest("a") not in records
    assert f"The record {digest('a')} in {tmp_path} is damaged" in caplog.text
    records.put(digest("a"), {"text": "again"})
    assert records.get(digest("a")) == {"text": "again"}


def test_records_of_releases_without_checksums_are_read(tmp_path):
    (tmp_path / "0123456789abcdef.jsonl").write_text(
        f'{digest("a")} {{"n":1}}\n{digest("b")} {{"n":2}}\n{digest("b")} {{}}\n'
        f'{digest("c")} {{"m":3}}\n{digest("d")} {{"n":"x"}}\n{digest("e")} {{"n":1\n'
    )
    records = OfShape(tmp_path, {"n": int})
    assert [records.get(digest(name)) for name in "abcde"] == [{"n": 1}, None, None, None, None]
    assert len(records) == 1


def test_an_answer_of_the_wrong_shape_is_none(tmp_path):
    answer = (
        '{"text":"Hi.","finish_reason":"stop","prompt_tokens":1,"completion_tokens":2,"model":""}'
    )
    bodies = [answer, '{"text":"hello"}', answer.replace('"Hi."', "42"), "[1]", "{}x}"]
    lines = [f"{digest(str(n))} {body}\n" for n, body in enumerate(bodies)]
    (tmp_path / "0123456789abcdef.jsonl").write_text("".join(lines) + f"{'z' * 64} {{}}x}}\n")
    answers = OfShape(tmp_path, SHAPES["completions"])
    assert len(answers) == 1
    assert answers.get(digest("0"))["text"] == "Hi."


def test_a_segment_is_rid_of_its_damaged_lines_and_of_no_others(tmp_path):
    put(tmp_path, a=1, b=2)
    path = segment(tmp_path)
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"rubbish\n" + first + b"\0" * 9 + b"\n" + second + first[:40])
    drop_damaged(path, {})
    assert path.read_bytes() == first + second
    path.write_bytes(b"\0" * 100)
    drop_damaged(path, {})
    assert list(tmp_path.iterdir()) == []


FILL = """
import resource, signal, sys
from hashlib import sha256
from pathlib import Path
from corpus.store.append_only_records import Records
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
records = Records(Path(sys.argv[1]), {})
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
    assert segment(tmp_path).read_bytes().endswith(b"\n")
    assert len(Records(tmp_path)) == written


def test_memory_per_record_stays_small(tmp_path):
    records = Records(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(20_000):
        records.put(digest(str(number)), {"text": "x" * 2000})
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 20_000 * 500
    assert segment(tmp_path).stat().st_size > 20_000 * 2000


# Forgetting, and what stands


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


@pytest.mark.parametrize("hours", [-1, 0, 30_000_000 / 3600])
def test_what_is_put_anew_stands_whatever_the_clock_says(tmp_path, monkeypatch, hours):
    put(tmp_path, a=1)

    class Clock:
        @staticmethod
        def now(zone):
            return datetime.now(UTC) + timedelta(hours=hours)

    monkeypatch.setattr(segments, "datetime", Clock)
    for n in (2, 3):
        records = Records(tmp_path)
        records.forget(digest("a"))
        records.put(digest("a"), {"n": n})
        records.close()
        assert found(tmp_path, "a") == [n]


def test_names_of_segments_count_up_and_follow_those_of_earlier_releases():
    old = ["fedcba9876543210.jsonl", "20990101T000000.000000Z-0123456789abcdef.jsonl"]
    names = list(old)
    for _ in range(12):
        names.append(name_behind(names) + ".jsonl")
    assert sorted(names)[2:] == names[2:]
    assert name_behind(old) != name_behind(old)  # two that begin at the same moment


def test_what_another_run_took_back_is_not_read_from_its_earlier_segment(tmp_path):
    theirs = tmp_path / "elsewhere" / name_behind([])
    theirs.mkdir(parents=True)
    first, second = name_behind([]), name_behind(["s0000000001-x"])
    taken = line_of(digest("a"), b'{"n":1}') + line_of(digest("b"), b'{"n":1}')
    (theirs / f"{first}.jsonl").write_bytes(taken)
    anew = line_of(digest("a"), b"{}") + line_of(digest("a"), b'{"n":2}')
    (theirs / f"{second}.jsonl").write_bytes(anew + line_of(digest("b"), b'{"n":3}'))
    assert found(tmp_path, "ab") == [2, 1]
    put(tmp_path, c=1)
    records = Records(tmp_path)
    assert list(records.own()) == [digest("c")]


# Power cuts


def test_a_record_is_written_at_once_and_synced_with_its_name_in_groups(tmp_path, synced):
    records = Records(tmp_path)
    for n in range(5):
        records.put(digest(str(n)), {"n": n})
    path = segment(tmp_path)
    assert len(path.read_bytes().splitlines()) == 5
    assert synced == []
    records.sync()
    assert [of for of, _ in synced] == [path, tmp_path]
    records.sync()
    assert len(synced) == 2
    records.put(digest("5"), {"n": 5})
    assert records.end_segment() == path
    assert synced[2:] == [(path, path.read_bytes())]
