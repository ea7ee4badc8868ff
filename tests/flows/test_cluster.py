"""A cluster on one machine: Prefect server, worker and two Dask workers, each killed in mid-run."""

import time
from collections import Counter

import httpx
import pytest

from corpus.run.run_folder import RunFolder
from corpus.store.digest_store import Store
from corpus.store.line_log import read_log
from tests.support.dask_cluster import DaskCluster
from tests.support.fake_servers import FakeTextServer
from tests.support.line import files_of, speak_and_pack, write_recipe, write_run
from tests.support.prefect_cluster import PrefectCluster, kill, until


@pytest.fixture(scope="module")
def server():
    with FakeTextServer() as server:
        yield server


@pytest.fixture(scope="module")
def recipe(server, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "r.toml"
    return write_recipe(path, server.base_url, anchors=("sad", "angry"))


@pytest.fixture(scope="module")
def undisturbed(recipe, tmp_path_factory):
    """The same corpus, made in one go and without any cluster."""
    run = write_run(tmp_path_factory.mktemp("undisturbed") / "run", recipe)
    speak_and_pack(run)
    return run


def clips_made(run: RunFolder) -> dict[str, int]:
    """Every clip on file, with the time at which it was put there."""
    return {path.name: path.stat().st_mtime_ns for path in run.store.glob("clips/*/*.flac")}


def test_killing_each_part_of_a_cluster_loses_no_finished_item(
    recipe, server, undisturbed, tmp_path
):
    run = RunFolder(tmp_path / "run")
    for folder in ("dask", "prefect"):
        (tmp_path / folder).mkdir()
    with (
        DaskCluster(tmp_path / "dask", workers=2) as dask,
        PrefectCluster(tmp_path / "prefect") as prefect,
    ):
        order = {
            "recipe": str(recipe),
            "run_dir": str(run.root),
            "overrides": [f'compute.dask="{dask.address}"'],
            "report": False,
        }
        server.requests.clear()
        first = prefect.start(order).json()["id"]

        until(lambda: len(clips_made(run)) >= 3)
        dask.workers[0].kill()
        until(lambda: len(clips_made(run)) >= 8)
        kill(prefect.worker)
        finished = clips_made(run)
        with Store(run.store) as store:
            measured = len(store.clip_measures)
        assert prefect.run(first)["state"]["type"] == "RUNNING"  # nobody is left to say otherwise

        prefect.worker = prefect.start_worker()
        second = prefect.start(order).json()["id"]
        until(lambda: len(clips_made(run)) > len(finished))
        kill(prefect.server)
        time.sleep(1)
        prefect.server = prefect.start_server()
        until(lambda: answers(prefect))
        if prefect.ended(second)["state"]["type"] != "COMPLETED":
            third = prefect.start(order).json()["id"]
            assert prefect.ended(third)["state"]["type"] == "COMPLETED"
        assert {"speak", "prosody", "encode"} <= dask.computed()

    assert files_of(run) == files_of(undisturbed)
    # What was finished before the worker was killed was not made again, nor any text asked twice.
    assert finished.items() <= clips_made(run).items()
    asked = Counter(str(received.body) for received in server.requests)
    assert max(asked.values()) == 1
    lines = read_log(run.log)
    assert [line["event"] for line in lines].count("build begun") >= 2
    assert measured >= len(finished) - 4


def answers(prefect: PrefectCluster) -> bool:
    try:
        return prefect.call("GET", "health").is_success
    except httpx.TransportError:
        return False
