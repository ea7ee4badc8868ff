"""Limits: a run stops at one, says so, loses nothing, and goes on when it is raised."""

import asyncio
import json
import shutil

import pytest

from corpus.dataset.shard_writer import write_corpus
from corpus.errors import InvalidInput, SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.plan.recipe_files import load_recipe
from corpus.run.budget import Budget
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.store.opening import open_store
from schemas.recipe import Limits
from tests.support.fake_servers import FakeTextServer
from tests.support.line import open_run, texts_of, write_recipe, write_run
from tests.support.replies import sometimes

GPUS = ("llm.gpus=8", "llm.gpu_hour_price=2.5")


@pytest.fixture
def server():
    with FakeTextServer(behave=sometimes(["short"], 0.1), latency=0.02) as running:
        yield running


@pytest.fixture
def recipe(tmp_path, server):
    return write_recipe(tmp_path / "small.toml", server.base_url)


def on_file(run_folder):
    with open_store(run_folder / "store") as store:
        return len(store.completions)


def test_a_run_stops_at_its_limit_of_requests_and_goes_on_when_it_is_raised(
    tmp_path, recipe, server
):
    whole = write_run(tmp_path / "whole", recipe)
    needed, server.count = server.count, 0
    with pytest.raises(SympatheiaError) as stopped:
        write_run(tmp_path / "run", recipe, "limits.requests=20")
    assert stopped.value.exit_code == 1
    assert "limits.requests is reached: the run has used 20, and 20 is" in str(stopped.value)
    assert "--set limits.requests=40" in str(stopped.value)
    assert server.count == on_file(tmp_path / "run") == 20
    with pytest.raises(SympatheiaError, match="has used 20"):  # and nothing is counted twice
        write_run(tmp_path / "run", recipe, "limits.requests=20")
    run = write_run(tmp_path / "run", recipe, f"limits.requests={needed}")
    assert server.count == needed
    assert texts_of(run) == texts_of(whole)


def asking(tmp_path, *overrides, progress=None):
    recipe = load_recipe("demo", overrides)
    with open_store(tmp_path / "store") as store:
        return Budget(recipe, store, progress or Progress(None))


@pytest.mark.parametrize("limit", ["gpu_hours", "cost"])
def test_what_earlier_builds_took_of_the_servers_counts(tmp_path, limit):
    used = {"seconds": 900.0, "gpu_hours": 2.0, "cost": 5.0, "endpoints": []}
    path = tmp_path / "progress.json"
    path.write_text(json.dumps({"servers": {"llm": used}}))

    async def ask(most):
        settings = (*GPUS, f"limits.{limit}={most}")
        async with asking(tmp_path, *settings, progress=Progress(path)).asking():
            return True

    assert asyncio.run(ask(used[limit] + 0.1))
    with pytest.raises(SympatheiaError, match=f"limits.{limit} is reached"):
        asyncio.run(ask(used[limit]))


def test_the_time_of_servers_at_work_counts_as_it_passes(tmp_path):
    progress = Progress(None)
    budget = asking(tmp_path, *GPUS, "limits.gpu_hours=1e-9", progress=progress)

    async def ask():
        async with budget.asking():
            pass

    asyncio.run(ask())
    with progress.watching("llm", list, 8), pytest.raises(SympatheiaError, match="gpu_hours"):
        asyncio.run(ask())


def test_what_is_in_flight_is_answered_before_the_run_stops(tmp_path):
    budget = asking(tmp_path, "limits.requests=1")
    order = []

    async def first(begun):
        async with budget.asking():
            begun.set()
            await asyncio.sleep(0.2)
            order.append("answered")

    async def both():
        begun = asyncio.Event()
        flying = asyncio.create_task(first(begun))
        await begun.wait()
        with pytest.raises(SympatheiaError):
            async with budget.asking():
                pass
        order.append("stopped")
        await flying

    asyncio.run(both())
    assert order == ["answered", "stopped"]


def test_a_request_that_failed_makes_room_again(tmp_path):
    budget = asking(tmp_path, "limits.requests=1")

    async def twice():
        with pytest.raises(ValueError):
            async with budget.asking():
                raise ValueError
        async with budget.asking():
            return True

    assert asyncio.run(twice())


@pytest.mark.parametrize("limit", ["gpu_hours", "cost"])
def test_a_limit_that_could_never_be_reached_for_want_of_figures_is_refused(limit):
    with pytest.raises(InvalidInput, match=f"limits.{limit} is set, but"):
        load_recipe("demo", [f"limits.{limit}=1.0"])


def test_a_limit_shapes_nothing_of_what_is_made(tmp_path, whole):
    run = RunFolder(shutil.copytree(whole, tmp_path / "run"))
    packed = (run.corpus / "README.md").stat().st_ino
    recipe = run.read_recipe().model_copy(update={"limits": Limits(requests=1_000_000)})
    with open_run(run, Blueprint.of(recipe)) as at_work:
        write_corpus(at_work)
    assert (run.corpus / "README.md").stat().st_ino == packed  # not written anew
