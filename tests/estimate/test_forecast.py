"""An estimate holds what the run then takes, counts only what is left, and changes nothing."""

import json
from dataclasses import dataclass

import pytest

from corpus.errors import SympatheiaError
from corpus.estimate.forecast import Estimate, estimate
from corpus.estimate.probe import outgrown, probe_of
from corpus.estimate.remaining_work import look
from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.store.opening import open_store
from tests.support.fake_servers import FakeTextServer
from tests.support.line import texts_of, typed, write_recipe, write_run
from tests.support.replies import sometimes

FIGURES = (
    *("requests", "prompt_tokens", "completion_tokens", "audio_seconds"),
    *("gpu_hours", "cost", "disk_bytes", "wall_seconds"),
)
SIZE = ("emotional.pairs_per_anchor=60", "neutral.queries=40")


def size_of(blueprint):
    recipe = blueprint.recipe
    return (
        f"emotional.pairs_per_anchor={recipe.emotional.pairs_per_anchor}",
        f"neutral.queries={recipe.neutral.queries}",
    )


def answers(run):
    with open_store(run.store) as store:
        return list(store.completions.values())


@dataclass
class Line:
    """A run of 300 pairs of which a tenth is refused: estimated after a probe, and when written."""

    probe: Blueprint
    after_probe: Estimate
    asked_then: int
    tokens_then: int
    run: RunFolder
    recipe: str
    when_written: Estimate


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    folder = tmp_path_factory.mktemp("line")
    with FakeTextServer(behave=sometimes(["short", "markdown", "length"], 0.1)) as server:
        recipe = write_recipe(folder / "small.toml", server.base_url)
        blueprint = Blueprint.named(str(recipe), SIZE)
        probe = probe_of(blueprint, 50)
        run = write_run(folder / "run", recipe, *size_of(probe))
        after_probe = estimate(blueprint, run)
        asked, tokens = server.count, sum(a["completion_tokens"] for a in answers(run))
        write_run(folder / "run", recipe, *SIZE)
        return Line(
            probe,
            after_probe,
            server.count - asked,
            sum(a["completion_tokens"] for a in answers(run)) - tokens,
            run,
            str(recipe),
            estimate(blueprint, run),
        )


def test_a_probe_has_about_the_pairs_asked_for_some_of_every_cell(line):
    assert 45 <= line.probe.plan.pair_count <= 55
    whole = Blueprint.named(line.recipe, SIZE).plan
    assert {pair.cell for pair in line.probe.plan.pairs()} == {p.cell for p in whole.pairs()}
    least = probe_of(Blueprint.named(line.recipe, SIZE), 1)
    assert least.plan.pair_count == 3 + 3


@pytest.mark.parametrize(
    ("figure", "taken"),
    [
        ("requests", lambda line: line.asked_then),
        ("prompt_tokens", lambda line: 7 * line.asked_then),  # what the server says of each
        ("completion_tokens", lambda line: line.tokens_then),
    ],
)
def test_after_a_probe_of_50_both_bounds_are_within_a_fifth_of_what_is_then_taken(
    line, figure, taken
):
    found = line.after_probe.figures[figure]
    assert 0.8 * taken(line) < found.low < found.high < 1.2 * taken(line)


def test_of_texts_that_are_written_nothing_is_left_but_to_speak_them(line):
    found = line.when_written.figures
    assert found["requests"].high == found["completion_tokens"].high == 0
    assert found["audio_seconds"].low > 0  # by the rules of thumb: nothing was spoken
    assert found["disk_bytes"].low > 0


def test_of_a_run_that_stopped_half_way_only_the_rest_counts(tmp_path):
    with FakeTextServer(behave=sometimes(["short"], 0.1)) as server:
        recipe = write_recipe(tmp_path / "small.toml", server.base_url)
        blueprint, run, found = Blueprint.named(str(recipe), SIZE), tmp_path / "run", []
        for limit in (100, 450):
            with pytest.raises(SympatheiaError, match="limits"):
                write_run(run, recipe, *SIZE, f"limits.requests={limit}")
            found.append(estimate(blueprint, RunFolder(run)).figures["requests"])
        write_run(run, recipe, *SIZE)
    early, late = found
    # Little tells yet how much is refused; but what was answered is not asked for again.
    assert early.low <= server.count - 100 <= early.high <= 2.5 * 520 - 100
    rest = server.count - 450
    assert 0.8 * rest < late.low <= late.high < 1.2 * rest


def test_a_run_that_grows_from_its_probe_is_of_the_same_requests(tmp_path, line):
    with FakeTextServer(behave=sometimes(["short", "markdown", "length"], 0.1)) as server:
        recipe = write_recipe(tmp_path / "small.toml", server.base_url)
        small = ("emotional.pairs_per_anchor=8", "neutral.queries=3")
        run = write_run(tmp_path / "at once", recipe, *small)
        write_run(tmp_path / "grown", recipe, *size_of(probe_of(run.blueprint(), 10)))
        grown = write_run(tmp_path / "grown", recipe, *small)
    assert texts_of(grown) == texts_of(run)


def test_a_run_that_has_begun_larger_is_never_made_smaller_by_a_probe(line):
    assert outgrown(line.run, line.probe)
    assert not outgrown(line.run, Blueprint.named(line.recipe, SIZE))
    assert not outgrown(RunFolder(line.run.root / "none"), line.probe)


def test_the_same_folder_gives_the_same_estimate(line):
    assert estimate(Blueprint.named(line.recipe, SIZE), line.run) == line.when_written


def test_before_anything_is_made_there_are_rules_of_thumb_and_the_published_cost(tmp_path):
    settings = ("emotional.pairs_per_anchor=10", "neutral.queries=5", "llm.gpu_hour_price=2.0")
    blueprint = Blueprint.named("sympatheia-18k", [*settings, "speech.gpu_hour_price=2.0"])
    folder = RunFolder(tmp_path / "none")
    found = estimate(blueprint, folder)
    assert not folder.root.exists()
    slots = blueprint.plan.query_count + blueprint.plan.pair_count
    assert found.figures["requests"].low == 2 * slots  # each text and its clip
    assert all(figure.low <= figure.high for figure in found.figures.values() if figure)
    # A hundredth of the published 272 GPU-hours, which were of 1.5 to 2.5 times the texts.
    assert found.figures["gpu_hours"].low < 2.72 < found.figures["gpu_hours"].high
    assert found.figures["cost"].high == 2 * found.figures["gpu_hours"].high
    assert any("NVIDIA L40" in note for note in found.notes)
    assert found.figures["wall_seconds"] is None  # nobody said how many GPUs there are


def test_guard_judge_and_candidates_are_counted_before_anything_is_made(tmp_path):
    size = ("emotional.pairs_per_anchor=2", "neutral.queries=2")
    graded = ('llm.guard.model="g"', 'llm.judge.model="j"', "llm.responses.candidates=3")
    blueprint = Blueprint.named("sympatheia-18k", [*size, *graded])
    found = estimate(blueprint, RunFolder(tmp_path / "none")).figures["requests"]
    queries, pairs = blueprint.plan.query_count, blueprint.plan.pair_count
    assert found.low == queries + 3 * 3 * pairs + queries + pairs  # and a clip of each


def test_a_run_with_candidates_that_is_whole_has_nothing_left(tmp_path):
    settings = ("llm.responses.candidates=2", "emotional.pairs_per_anchor=2", "neutral.queries=0")
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "small.toml", server.base_url, anchors=("sad",))
        run = write_run(tmp_path / "run", recipe, *settings)
    blueprint = Blueprint.named(str(recipe), settings)
    with open_store(run.store) as store:
        left = {part.kind: part.left for part in look(blueprint, run, store)}
    assert (left["queries"], left["responses"]) == (0, 0)


def test_what_cannot_be_known_is_null_and_builtin_servers_cost_nothing(tmp_path):
    served = ["llm.endpoints=['http://127.0.0.1:1/v1']", "llm.model='else'"]
    unknown = estimate(Blueprint.named("demo", served), RunFolder(tmp_path / "none")).as_data()
    assert [name for name in FIGURES if unknown[name] is None] == [
        "gpu_hours",
        "cost",
        "wall_seconds",
    ]
    own = estimate(Blueprint.named("demo"), RunFolder(tmp_path / "none")).as_data()
    assert own["gpu_hours"] == own["cost"] == {"low": 0, "high": 0}


def test_measured_seconds_of_servers_give_hours_cost_and_time(tmp_path, line):
    used = {"llm": {"seconds": 100.0, "endpoints": []}}
    line.run.progress.write_text(json.dumps({"stages": {}, "servers": used}))
    sizes = ("emotional.pairs_per_anchor=120", "neutral.queries=40")
    costs = ("llm.gpus=4", "llm.gpu_hour_price=3.0")
    found = estimate(Blueprint.named(line.recipe, [*sizes, *costs]), line.run).figures
    a_request = 100.0 / len(answers(line.run))
    assert found["gpu_hours"].high == pytest.approx(found["requests"].high * a_request * 4 / 3600)
    assert found["cost"].high == pytest.approx(found["gpu_hours"].high * 3)
    assert found["wall_seconds"].high > found["requests"].high * a_request


def test_every_slot_is_looked_at_once(line):
    blueprint = Blueprint.named(line.recipe, SIZE)
    with open_store(line.run.store) as store:
        parts = look(blueprint, line.run, store)
        tried = sum(t.requests for part in parts for t in part.tried)
        assert tried == len(store.completions)
    filled = sum(t.full for part in parts for t in part.tried)
    assert filled == blueprint.plan.query_count + blueprint.plan.pair_count


def test_the_command_makes_a_probe_with_its_clips_and_prints_what_is_left(tmp_path):
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "small.toml", server.base_url, anchors=("sad",))
        run = tmp_path / "run"
        order = ("estimate", recipe, "--run-dir", run, "--set", "neutral.queries=0")
        made = typed(*order, "--probe", "2", "--json")
        assert made.returncode == 0, made.stderr
        assert "A probe of 2 pairs is made" in made.stderr
        found = json.loads(made.stdout)
        assert list(found) == [*FIGURES, "notes"]
        assert found["requests"] == {"low": 4, "high": 4}  # two of four pairs are left
        assert found["audio_seconds"]["low"] > 1
        asked = server.count
        again = typed(*order, "--probe", "2")
        assert server.count == asked
        assert "wall seconds" in again.stdout
