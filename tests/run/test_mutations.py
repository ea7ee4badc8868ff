"""Files of a run folder that were damaged in some hundred ways: read well, or refused in words."""

import random
import shutil
import tomllib

import orjson
import pytest
import tomli_w

from corpus.errors import SympatheiaError
from corpus.run.progress import Progress
from corpus.run.progress_file import read_progress
from corpus.run.run_folder import RunFolder
from corpus.servers.chat_requests import ChatAnswer
from corpus.servers.load_balancing import EndpointState
from corpus.sound.clip_audio import ClipMeasures
from corpus.store.digest_store import Store
from corpus.text.queries import Decisions
from flows.cli.status_tables import print_status, read_status
from tests.support.mutations import VALUES, in_words, mutate_value, mutated_bytes

SEEDS = range(60)


@pytest.fixture(scope="module")
def run(whole, tmp_path_factory):
    """A run without its corpus, to damage."""
    folder = tmp_path_factory.mktemp("mutated") / "run"
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("corpus"))
    run = RunFolder(folder)
    progress = Progress(run.progress)
    progress.begin("queries", {"sad": 3, "tired": 2})
    state = EndpointState("http://127.0.0.1:9/v1", 1, 8, 5, 1, 700, False, "HTTP 503")
    progress.refused("queries", "sad", "too_short")
    with progress.watching("llm", lambda: [state], gpus=2, gpu_hour_price=1.5):
        progress.filled("queries", "sad")
    progress.close()
    return run


def damaged(content, dumps=None):
    """A file in some hundred states; by its values too, where it says how these are written."""
    for seed in SEEDS:
        yield mutated_bytes(content, random.Random(seed))
    for seed in SEEDS if dumps else ():
        chance, lines = random.Random(seed), content.splitlines()
        at = chance.randrange(len(lines))
        before, brace, rest = lines[at].partition(b"{")
        data = orjson.loads(brace + rest.rpartition(b"}")[0] + b"}")
        mutate_value(data, chance, [*VALUES, None])
        # Without the checksum, as releases up to 0.2.0 wrote records.
        yield b"\n".join([*lines[:at], before + dumps(data), *lines[at + 1 :]]) + b"\n"


def json_line(data):
    try:
        return orjson.dumps(data)
    except TypeError:  # a whole number that JSON's usual readers do not take
        return b'{"n": 1e999}'


def states(path, *more):
    """The file in one state after the other; as it was at the end."""
    content = path.read_bytes()
    try:
        for body in damaged(content, *more):
            path.write_bytes(body)
            yield body
    finally:
        path.write_bytes(content)


def in_order_or_in_words(work):
    """What a piece of work gives; None where it ends in words."""
    try:
        return work()
    except SympatheiaError as error:
        assert in_words(error), str(error)
        return None


def test_a_damaged_recipe_of_a_run(run):
    read = 0
    for _ in states(run.recipe):
        read += in_order_or_in_words(run.blueprint) is not None
    data = tomllib.loads(run.recipe.read_text())
    content = run.recipe.read_bytes()
    try:
        for seed in SEEDS:
            chance, changed = random.Random(seed), tomllib.loads(content.decode())
            mutate_value(changed, chance, VALUES)
            run.recipe.write_text(tomli_w.dumps(changed))
            read += in_order_or_in_words(run.blueprint) is not None
    finally:
        run.recipe.write_bytes(content)
    assert data == tomllib.loads(run.recipe.read_text())
    assert 10 < read < 2 * len(SEEDS)


def test_damaged_progress(run, capsys):
    content = run.progress.read_bytes()
    try:
        for seed in SEEDS:
            chance, data = random.Random(seed), orjson.loads(content)
            mutate_value(data, chance, [*VALUES, None])
            run.progress.write_bytes(json_line(data))
            in_order_or_in_words(lambda: print_status(read_status(run)))
            in_order_or_in_words(lambda: read_progress(run.progress))
    finally:
        run.progress.write_bytes(content)
    for _ in states(run.progress):
        in_order_or_in_words(lambda: print_status(read_status(run)))


def test_damaged_decisions(run):
    read = 0
    for _ in states(run.decisions, json_line):
        decisions = in_order_or_in_words(lambda: Decisions(run.decisions))
        if decisions is not None:
            read += 1
            decisions.close()
    assert 0 < read < 2 * len(SEEDS)


READ = {
    "completions": ChatAnswer.from_dict,
    "clip_measures": ClipMeasures.of,
    "embeddings": dict,
    "prosody": dict,
}


@pytest.mark.parametrize("kind", READ)
def test_damaged_records(run, kind):
    (path, *_) = sorted((run.store / kind).glob("*.jsonl"))
    for _ in states(path, json_line):
        with Store(run.store) as store:
            for record in getattr(store, kind).values():
                assert READ[kind](record) is not None
