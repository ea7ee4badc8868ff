"""`sympatheia check RUN --store`: all of a store is read, and what is damaged is let go of."""

import json
import shutil

from corpus.checks.run_store import check_store
from flows.work import at_work
from tests.support.line import files_of, rows, typed


def clips(run):
    return sorted(run.store.glob("clips/*/*.flac"))


def segment(run, kind):
    (path,) = (run.store / kind).glob("*.jsonl")
    return path


def damage(run):
    """Damages two lines, tears one off, and damages three clips; gives the six files."""
    completions, measures = segment(run, "completions"), segment(run, "clip_measures")
    first, second, *rest = completions.read_bytes().splitlines(keepends=True)
    completions.write_bytes(
        first + second[:80] + b"?" + second[81:] + bytes(50) + b"\n" + b"".join(rest)
    )
    measures.write_bytes(measures.read_bytes()[:-20])
    empty, gone, changed = clips(run)[:3]
    empty.write_bytes(b"")
    gone.unlink()
    changed.write_bytes(bytes(changed.stat().st_size))
    return [completions, completions, measures, empty, changed, gone]


def test_a_whole_store_is_said_to_be(run):
    found = check_store(run, forget=False)
    assert found.damaged == []
    assert found.clips == len(clips(run))
    lines = [path.read_bytes().count(b"\n") for path in run.store.glob("*/*.jsonl")]
    assert found.records == sum(lines)


def test_everything_damaged_is_named_and_made_again_once_it_is_let_go_of(small, run):
    broken = damage(run)
    before = {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}
    found = check_store(run, forget=False)
    assert sorted(damage.file for damage in found.damaged) == sorted(map(str, broken))
    assert {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()} == before

    let_go = check_store(run, forget=True)
    assert let_go.damaged == found.damaged
    assert not run.corpus_stamp.exists()
    assert check_store(run, forget=False).damaged == []
    with at_work(run, run.blueprint(), "shards") as work:
        work.speak()
        work.pack()
    assert files_of(run) == files_of(small)
    assert len(clips(run)) == len(clips(small))


def test_clips_of_earlier_releases_are_decoded(run):
    shutil.rmtree(run.store / "clip_files")
    first, *_ = clips(run)
    first.write_bytes(first.read_bytes()[:-5000])
    assert [damage.file for damage in check_store(run, forget=False).damaged] == [str(first)]


def test_the_command_names_what_is_damaged_and_says_how_it_went(run):
    broken = damage(run)
    found = typed("check", run.root, "--store")
    assert found.returncode == 1
    assert all(str(path) in found.stdout for path in broken)
    assert "is damaged in 6 places" in found.stderr
    assert f"check {run.root} --store --forget" in found.stderr
    let_go = typed("check", run.root, "--store", "--forget", "--json")
    assert let_go.returncode == 0
    said = json.loads(let_go.stdout)
    assert said["passed"] is False
    kinds = sorted(damage["kind"] for damage in said["damaged"])
    assert kinds == ["clip_measures", "clips", "clips", "clips", "completions", "completions"]
    digests = {damage["digest"] for damage in said["damaged"] if damage["kind"] == "clips"}
    assert digests <= {row["digest"] for row in rows(run.clips)}
    assert typed("check", run.root, "--store").returncode == 0


def test_what_is_being_written_is_no_damage_and_is_not_let_go_of(run):
    path = segment(run, "completions")
    path.write_bytes(path.read_bytes()[:-20])
    with run.locked():
        assert check_store(run, forget=False).damaged == []
        refused = typed("check", run.root, "--store", "--forget")
    assert refused.returncode == 1
    assert "Another build is at work" in refused.stderr
    assert len(check_store(run, forget=False).damaged) == 1


def test_wrong_usage_is_said_so(tmp_path):
    forget = typed("check", tmp_path, "--forget")
    assert forget.returncode == 2
    assert "--forget goes with --store" in forget.stderr
    assert typed("check", tmp_path, "--store").returncode == 2
