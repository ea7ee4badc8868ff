"""Responses folders: what is in them, that nothing is made twice, and what is refused."""

import os
import signal
import time
import tomllib
from contextlib import suppress

import pyarrow.parquet as pq
import pytest

from corpus.adapter.inference.language_model import LanguageModel
from corpus.adapter.inference.responses import SYSTEM, TABLE, respond
from corpus.errors import InvalidInput, SympatheiaError
from corpus.opened import Corpus
from corpus.run.progress import Progress
from corpus.sound.sound_files import decode
from corpus.store.digest_store import Store
from schemas.orders import ResponsesOrder
from schemas.tables import ANSWERS
from tests.adapter.inference.completions_server import CompletionsServer
from tests.support.line import start

pytestmark = pytest.mark.usefixtures("one_thread")

PAIRS, TOKENS = 3, 20
CONDITIONS = ("affect", "none")


class Stopped(Exception):
    """Ctrl-C, at a moment of a test's choice."""


class Stopping(Progress):
    """Stops the work at its n-th item."""

    def __init__(self, after: int) -> None:
        super().__init__(None)
        self._left = after

    def filled(self, stage: str, cell: str) -> None:
        super().filled(stage, cell)
        self._left -= 1
        if not self._left:
            raise Stopped


@pytest.fixture(scope="module")
def order(whole, tiny, adapter, tmp_path_factory):
    return ResponsesOrder(
        corpus=whole,
        base=str(tiny / "base"),
        speech_tokenizer=str(tiny / "speech-tokenizer"),
        decoder=str(tiny / "decoder"),
        adapter=str(adapter),
        output=tmp_path_factory.mktemp("responses"),
        conditions=CONDITIONS,
        noise=(0.5,),
        limit=PAIRS,
        max_new_tokens=TOKENS,
        batch=2,
    )


@pytest.fixture(scope="module")
def finished(order):
    respond(order, Progress(None))
    return order.output


def answers(folder):
    return pq.read_table(folder / TABLE).to_pylist()


def test_every_pair_is_answered_under_every_condition(finished):
    rows = answers(finished)
    assert pq.read_schema(finished / TABLE).equals(ANSWERS)
    assert len(rows) == PAIRS * 3
    assert [row["condition"] for row in rows] == [*CONDITIONS, "affect~0.5"] * PAIRS
    for row in rows:
        assert row["id"].endswith(f"/{row['condition']}")
        assert row["status"] in ("ok", "no_stop", "no_audio", "out_of_range")
        told = row["valence"], row["arousal"]
        if row["condition"] == "none":
            assert told == (None, None)
            assert "User emotion N/A" in row["prompt"]
        else:
            assert f"(valence={told[0]:.2f}, arousal={told[1]:.2f})" in row["prompt"]
            target = row["target_valence"], row["target_arousal"]
            assert (told == target) == (row["condition"] == "affect")
    assert len({row["seed"] for row in rows}) == len(rows)


def test_sound_is_in_the_table_where_there_is_some(finished):
    rows = answers(finished)
    assert any(row["audio"] for row in rows)
    for row in rows:
        assert (row["audio"] is not None) == bool(row["tokens"])
        if row["audio"]:
            samples, rate = decode(row["audio"]["bytes"])
            assert rate == 22_050
            assert len(samples) / rate == pytest.approx(row["seconds"])
            assert row["seconds"] == pytest.approx(len(row["tokens"]) / 12.5, abs=0.05)


def test_system_toml_says_what_made_them(finished, order):
    system = tomllib.loads((finished / SYSTEM).read_text())
    assert system["adapter"] == order.adapter
    assert system["sampling"] == {
        "seed": 0,
        "temperature": 0.2,
        "top_p": 0.8,
        "max_new_tokens": TOKENS,
    }
    assert len(system["model_digest"]) == 64


@pytest.mark.parametrize("after", [2, 5, 13, 17])
def test_stopped_and_continued_gives_the_same_bytes(order, finished, tmp_path, after):
    again = order.model_copy(update={"output": tmp_path / "again"})
    with pytest.raises(Stopped):
        respond(again, Stopping(after))
    assert not (again.output / TABLE).exists()
    respond(again, Progress(None))
    assert (again.output / TABLE).read_bytes() == (finished / TABLE).read_bytes()
    assert (again.output / SYSTEM).read_bytes() == (finished / SYSTEM).read_bytes()


def test_a_second_time_nothing_is_made(order, finished, monkeypatch):
    def no_model(*_):
        raise AssertionError("a model was loaded to write what is on file")

    monkeypatch.setattr(LanguageModel, "from_pretrained", no_model)
    before = (finished / TABLE).read_bytes()
    respond(order, Progress(None))
    assert (finished / TABLE).read_bytes() == before


def test_a_decoder_that_is_none_is_refused_before_anything_is_written(order, tmp_path):
    wrong = order.model_copy(update={"decoder": str(tmp_path), "output": tmp_path / "out"})
    with pytest.raises(InvalidInput, match=str(tmp_path)):
        respond(wrong, Progress(None))
    with Store(wrong.output / "store") as store:
        assert len(store.replies) == len(store.speech_tokens) == 0


def test_killed_with_9_it_goes_on_to_the_same_bytes(order, finished, tmp_path):
    output = tmp_path / "killed"
    parts = ("base", "speech_tokenizer", "decoder", "adapter")
    named = [f"--{name.replace('_', '-')}={getattr(order, name)}" for name in parts]
    said = ["--condition=affect", "--condition=none", "--noise=0.5", f"--limit={PAIRS}"]
    said += [f"--max-new-tokens={TOKENS}", "--batch=2", f"--output={output}"]
    process = start("respond", order.corpus, *named, *said, log=tmp_path / "log")
    deadline = time.monotonic() + 300
    segments = output / "store" / "replies"
    while not (segments.is_dir() and any(path.stat().st_size for path in segments.iterdir())):
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    respond(order.model_copy(update={"output": output}), Progress(None))
    assert (output / TABLE).read_bytes() == (finished / TABLE).read_bytes()


def test_another_system_s_responses_stay_as_they_are(order, finished):
    with pytest.raises(InvalidInput, match=r"responses of another adapter .* another --output"):
        respond(order.model_copy(update={"adapter": None}), Progress(None))


# Through servers


@pytest.fixture(scope="module")
def models(tiny, adapter):
    base = str(tiny / "base")
    return {
        "base": LanguageModel.from_pretrained(base),
        "sympatheia": LanguageModel.from_pretrained(base, str(adapter)),
    }


@pytest.fixture
def server(models):
    with CompletionsServer(models) as server:
        yield server


def through(order, server, tmp_path, **more):
    update = {"endpoints": (server.url,), "output": tmp_path / "served", **more}
    return order.model_copy(update={"served_model": "sympatheia", "temperature": 0.0} | update)


def test_servers_write_what_this_machine_writes(order, server, tmp_path):
    here = order.model_copy(update={"output": tmp_path / "here", "temperature": 0.0})
    there = through(order, server, tmp_path)
    respond(here, Progress(None))
    respond(there, Progress(None))
    assert answers(there.output) == answers(here.output)
    assert len(server.bodies) == PAIRS * 3
    assert {body["top_k"] for body in server.bodies} == {-1}
    respond(there, Progress(None))
    assert len(server.bodies) == PAIRS * 3


def test_a_server_that_fails_now_and_then_costs_a_try(order, server, tmp_path):
    server.trouble += [(500, b"{}"), (200, b'{"choices": [{"text": "no ids"}]}'), (429, b"{}")]
    counts = respond(through(order, server, tmp_path), Progress(None))
    assert counts.total() == PAIRS * 3
    assert len(server.bodies) == PAIRS * 3 + 3


def test_a_server_of_several_models_is_to_be_told_which(order, server, tmp_path):
    asked = through(order, server, tmp_path, served_model=None)
    with pytest.raises(InvalidInput, match=r"serves base, sympatheia.*--served-model"):
        respond(asked, Progress(None))


def test_a_refusal_ends_the_work_and_keeps_what_came(order, server, models, tmp_path):
    asked = through(order, server, tmp_path)
    server.trouble += [(400, b'{"error": {"message": "the prompt is too long"}}')]
    with pytest.raises(SympatheiaError, match="the prompt is too long"):
        respond(asked, Progress(None))
    with Store(asked.output / "store") as store:
        kept = len(store.replies)
    with CompletionsServer(models) as mended:  # the first still answers those who left
        respond(through(order, mended, tmp_path), Progress(None))
    assert len(mended.bodies) == PAIRS * 3 - kept


@pytest.mark.parametrize("corpus", ["spoken", "gridded"])
def test_points_between_the_anchors_and_later_turns_are_answered_too(
    request, order, tmp_path, corpus
):
    folder = request.getfixturevalue(corpus)
    rows = {row["id"]: row for row in Corpus.open(folder).pairs(split="train")}
    few = {"corpus": folder, "output": tmp_path, "split": "train", "limit": None, "noise": ()}
    respond(
        order.model_copy(update=few | {"max_new_tokens": 2, "conditions": ("affect",)}),
        Progress(None),
    )
    found = answers(tmp_path)
    assert [row["id"].partition("/")[0] for row in found] == list(rows)
    for answer in found:
        row = rows[answer["id"].partition("/")[0]]
        assert (answer["valence"], answer["arousal"]) == (row["valence"], row["arousal"])
        turns = row.get("turn") or 1
        assert answer["prompt"].count("<|assistant|>") == turns
        before = [one["response_text"] for one in rows.values() if is_before(one, row)]
        assert len(before) == turns - 1
        assert all(text in answer["prompt"] for text in before)


def is_before(one, row):
    same = one.get("dialogue_id") and one["dialogue_id"] == row.get("dialogue_id")
    return same and one["turn"] < row["turn"]
