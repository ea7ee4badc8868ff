"""What a disk has damaged or a user deleted of a run's texts, and what it costs."""

import shutil

import pytest

from corpus.errors import SympatheiaError
from corpus.servers.retry_and_failover import EndpointsFailed
from corpus.store.line_log import read_log
from corpus.text.queries import Decisions
from tests.support.fake_servers import FakeTextServer
from tests.support.line import rows, texts_of, write_recipe, write_run
from tests.support.replies import completion, sometimes, status


@pytest.fixture
def server():
    with FakeTextServer(behave=sometimes(["markdown", "short"], 0.3)) as running:
        yield running


@pytest.fixture
def recipe(tmp_path, server):
    return write_recipe(tmp_path / "small.toml", server.base_url)


@pytest.fixture
def run(tmp_path, recipe):
    return write_run(tmp_path / "run", recipe)


def made_by(run):
    tables = (run.queries, run.responses, run.rejects, run.decisions)
    return {path.name: path.read_bytes() for path in tables}


def damage(run, digests):
    """Zeros the answers under some digests; gives how many there were."""
    (segment,) = (run.store / "completions").glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    gone = [line[:64].decode() in digests for line in lines]
    segment.write_bytes(
        b"".join(
            line[:65] + bytes(len(line) - 66) + b"\n" if lost else line
            for line, lost in zip(lines, gone, strict=True)
        )
    )
    shutil.rmtree(run.root / "tables")
    return sum(gone)


def decided(run, *, accepted):
    return [d for d in read_log(run.decisions) if (d["verdict"] == "accepted") == accepted]


def test_a_damaged_answer_is_asked_for_again_and_costs_nothing_else(run, recipe, server, caplog):
    whole, asked = made_by(run), server.count
    lost = {decided(run, accepted=True)[3]["digest"], decided(run, accepted=False)[1]["digest"]}
    lost.add(rows(run.responses)[5]["digest"])
    assert damage(run, lost) == 3
    write_run(run.root, recipe)
    assert server.count == asked + 3
    assert made_by(run) == whole
    assert "has damaged lines (3," in caplog.text
    assert "Answers that were decided on are lost (2)" in caplog.text


def test_a_query_that_is_answered_otherwise_now_is_decided_anew(run, recipe, server):
    before = texts_of(run)
    first = decided(run, accepted=True)[0]
    damage(run, {first["digest"]})
    usual = server.behave

    def otherwise_once(body, n):
        server.behave = usual
        return completion("How do I mend the bent wheel of a wheelbarrow?")

    server.behave = otherwise_once
    write_run(run.root, recipe)
    after = texts_of(run)
    assert after[first["slot"]] == "How do I mend the bent wheel of a wheelbarrow?"
    assert {name for name in before if before[name] != after[name]} == {
        name for name in before if first["slot"] in name
    }
    assert {"slot": first["slot"], "verdict": "left"} in read_log(run.decisions)


def test_tables_and_store_deleted_are_made_again_by_the_same_command(run, recipe, server):
    whole, asked = made_by(run), server.count
    shutil.rmtree(run.root / "tables")
    shutil.rmtree(run.store)
    write_run(run.root, recipe)
    assert server.count == 2 * asked
    assert made_by(run) == whole


def test_lost_answers_and_no_server_end_with_the_servers_sentence(run, recipe, server):
    damage(run, {decided(run, accepted=True)[0]["digest"]})
    server.behave = lambda body, n: status(401, "no more")
    with pytest.raises(EndpointsFailed, match="no more"):
        write_run(run.root, recipe)


ENTRY = {
    "slot": "emotional-sad-00000",
    "attempt": 0,
    "digest": "ab" * 32,
    "verdict": "accepted",
    "nearest": None,
    "similarity": None,
}


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        ENTRY | {"more": 1},
        {"slot": "x"},
        ENTRY | {"slot": 5},
        ENTRY | {"attempt": "0"},
        ENTRY | {"attempt": 3},
        ENTRY | {"digest": "ab"},
        ENTRY | {"digest": None},
        ENTRY | {"similarity": "near"},
        ENTRY | {"nearest": ["x"]},
        {"verdict": "left"},
    ],
)
def test_a_line_that_is_no_decision_is_named_with_the_remedy(tmp_path, line):
    path = tmp_path / "decisions.jsonl"
    said = line if isinstance(line, str) else str(line).replace("'", '"').replace("None", "null")
    path.write_text(said + "\n")
    with pytest.raises(SympatheiaError, match=r"decisions.jsonl is damaged \(.*or delete it: then"):
        Decisions(path)


def test_decisions_of_releases_that_did_not_note_the_text_are_read(tmp_path):
    path = tmp_path / "decisions.jsonl"
    path.write_text(str(ENTRY).replace("'", '"').replace("None", "null") + "\n")
    decisions = Decisions(path)
    assert decisions.of(ENTRY["slot"])[0].text is None
    decisions.close()
