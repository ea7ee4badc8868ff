"""A rule changes in a run that is finished: what stands is judged anew from what was paid for."""

import shutil

import pytest

from corpus.errors import SympatheiaError
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.store.line_log import read_log
from flows.cli.status_tables import print_status, read_status
from tests.support.fake_servers import FakeTextServer
from tests.support.line import rows, texts_of, write_recipe, write_run
from tests.support.replies import sometimes

STAMP = "tables/texts.json"


@pytest.fixture(scope="module")
def server():
    """Refusals of both stages, and a few texts that are kept only where a rule reports."""
    with FakeTextServer(behave=sometimes(["short", "markdown", "meta"], 0.4)) as running:
        yield running


@pytest.fixture(scope="module")
def finished(tmp_path_factory, server):
    folder = tmp_path_factory.mktemp("finished")
    recipe = write_recipe(folder / "small.toml", server.base_url)
    return recipe, write_run(folder / "run", recipe)


@pytest.fixture
def again(tmp_path, finished, server):
    """Builds a copy of the finished run with other settings; `again.asked` is what that asked."""
    recipe, run = finished
    copy = shutil.copytree(run.root, tmp_path / "run")

    def build(*settings):
        before = len(server.requests)
        built = write_run(copy, recipe, *(f"text.rules.{setting}" for setting in settings))
        build.asked = server.bodies[before:]
        return built

    build.run = RunFolder(copy)
    return build


def keys(bodies):
    return {(str(body["messages"]), body["seed"]) for body in bodies}


def files(run):
    names = ("decisions", "queries", "responses", "rejects", "similarities")
    return {name: getattr(run, name).read_bytes() for name in names}


def lengths(run, stage):
    return {slot: len(t.split()) for slot, t in texts_of(run).items() if ("resp" in slot) == stage}


def reasons(run, stage):
    return {row["reason"] for row in rows(run.rejects) if row["stage"] == stage}


def test_what_is_judged_anew_by_the_same_rules_is_the_same_file_by_file(again):
    before = files(again.run)
    (again.run.root / STAMP).unlink()
    again()
    assert files(again.run) == before
    assert again.asked == []


def test_a_tighter_limit_changes_the_queries_that_break_it_and_a_wider_one_none(again, server):
    before, paid = texts_of(again.run), keys(server.bodies)
    words = lengths(again.run, False)
    limit = sorted(words.values())[-3]
    broken = {slot for slot, count in words.items() if count > limit}
    assert broken

    run = again(f"query_too_long={limit}")
    tight = texts_of(run)
    changed = {slot for slot in before if tight[slot] != before[slot]}
    assert {slot for slot in changed if not slot.startswith("response")} == broken
    assert all(any(slot in name for slot in broken) for name in changed)
    assert max(lengths(run, False).values()) <= limit
    assert again.asked
    assert not paid & keys(again.asked)
    refused = {row["slot"] for row in rows(run.rejects) if row["reason"] == "too_long"}
    assert refused >= broken
    left = [line["slot"] for line in read_log(run.decisions) if line["verdict"] == "left"]
    assert set(left) == broken

    again()
    assert texts_of(run) == tight
    assert again.asked == []


def test_a_tighter_limit_changes_the_responses_that_break_it_and_a_wider_one_none(again, server):
    before, paid = texts_of(again.run), keys(server.bodies)
    words = lengths(again.run, True)
    limit = sorted(words.values())[-4]
    broken = {slot for slot, count in words.items() if count > limit}

    run = again(f"response_too_long={limit}")
    tight = texts_of(run)
    assert {slot for slot in before if tight[slot] != before[slot]} == broken
    assert not paid & keys(again.asked)
    assert "too_long" in reasons(run, "responses")

    rejects = run.rejects.read_bytes()
    again()
    assert texts_of(run) == tight
    assert run.rejects.read_bytes() == rejects
    assert again.asked == []


def test_a_rule_turned_off_leaves_what_was_accepted_in_its_place(again):
    before = texts_of(again.run)
    assert {"meta_opening", "too_short"} <= reasons(again.run, "queries")
    rejects = again.run.rejects.read_bytes()
    run = again("meta_opening=false", "too_short=false", "query_sentence_count=9")
    assert texts_of(run) == before
    assert run.rejects.read_bytes() == rejects
    assert again.asked == []


def test_slots_that_stayed_empty_are_judged_anew_when_a_rule_is_loosened(tmp_path, server):
    recipe = write_recipe(tmp_path / "small.toml", server.base_url, anchors=("sad",))
    settings = ("neutral.queries=1", "llm.max_attempts=3")
    before = len(server.requests)
    with pytest.raises(SympatheiaError, match="stayed empty after 3 attempts each"):
        write_run(tmp_path / "run", recipe, *settings, "text.rules.query_too_short=60")
    paid = keys(server.bodies[before:])
    assert len(paid) == 3 * 5
    before = len(server.requests)
    run = write_run(tmp_path / "run", recipe, *settings)
    assert len(rows(run.queries)) == 5
    assert not paid & keys(server.bodies[before:])
    assert all(row["attempt"] < 3 for row in rows(run.queries))


def test_what_a_rule_only_reports_is_kept_and_counted(tmp_path, server, capsys):
    recipe = write_recipe(tmp_path / "small.toml", server.base_url)
    run = RunFolder(tmp_path / "run")

    def build():
        progress = Progress(run.progress)
        write_run(run.root, recipe, 'text.rules.meta_opening="report"', progress=progress)
        progress.close()
        return read_status(run)

    found = build()
    kept = [slot for slot, text in texts_of(run).items() if text.startswith("Sure!")]
    responses = sum(slot.startswith("response") for slot in kept)
    counts = {"queries": len(kept) - responses, "responses": responses}
    assert all(counts.values())
    assert "meta_opening" not in reasons(run, "queries") | reasons(run, "responses")
    run.progress.unlink()
    for state in (found, build()):  # when they were written, and when nothing is left to do
        reported = {stage: state["stages"][stage]["reported"] for stage in counts}
        assert reported == {stage: {"meta_opening": times} for stage, times in counts.items()}
    print_status(found)
    assert "kept, but reported" in capsys.readouterr().out
