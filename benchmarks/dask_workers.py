"""The builtin-voice stage on one and on two Dask workers, and what Prefect tasks would add.

The same texts are spoken, checked, measured and put on file from nothing by the stage itself, on
workers that have spoken before, so that none still loads. `calls` then has two workers speak the
clips of the stage as plain calls, `prefect_tasks` as batches that prefect-dask's task runner sends
to them: what a task costs, and why the pipeline does without.

Run it on a quiet machine with at least two cores.

    .venv/bin/python -m benchmarks.dask_workers

The figures go to `dask_workers.json` beside this file.
"""

import asyncio
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from corpus.compute.local_or_dask import Workers
from corpus.plan.blueprint import Blueprint
from corpus.run.open_run import OpenRun
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.speech.builtin_voice import BuiltinVoice, speak
from corpus.speech.clip_requests import Clip, ClipRequest
from corpus.speech.speech_stage import speak_all
from corpus.store.digest_store import Store
from schemas.recipe import Compute, Speech
from tests.support.dask_cluster import DaskCluster
from tests.support.fake_servers import FakeTextServer
from tests.support.line import write_recipe, write_run

SIZE = ("emotional.pairs_per_anchor=14", "neutral.queries=6")
TASK_OF = 4
"""Clips in a Prefect task: a second of work."""
RESULT = Path(__file__).with_suffix(".json")


class Noted(BuiltinVoice):
    """The voice, which remembers what it was asked for."""

    def __init__(self, speech: Speech, dask: str) -> None:
        super().__init__(speech, dask)
        self.requests: list[ClipRequest] = []

    async def speak(self, request: ClipRequest, what: str) -> Clip:
        """As the voice itself."""
        self.requests.append(request)
        return await super().speak(request, what)


def stage(run: RunFolder, store: Path, dask: str) -> tuple[dict[str, float], list[ClipRequest]]:
    """Speaks everything into a new store; what that took, and what was asked of the voice."""
    recipe = run.read_recipe()
    recipe = recipe.model_copy(update={"compute": Compute(dask=dask)})
    progress = Progress(None)
    progress.begin("speech", {})
    begun = time.perf_counter()
    with Store(store) as opened, Noted(recipe.speech, dask) as voice:
        asyncio.run(speak_all(OpenRun(Blueprint.of(recipe), run, opened, progress), voice))
    seconds = time.perf_counter() - begun
    clips = progress.stages["speech"].done
    figures = {
        "clips": clips,
        "seconds": round(seconds, 2),
        "per_second": round(clips / seconds, 2),
    }
    return figures, voice.requests


def calls(requests: list[ClipRequest], dask: str) -> float:
    """Seconds for all clips as plain calls, as many at a time as the stage has."""

    async def all_of(workers: Workers) -> None:
        places = asyncio.Semaphore(workers.at_once)

        async def one(request: ClipRequest) -> None:
            async with places:
                await workers.call(speak, request)

        await asyncio.gather(*map(one, requests))

    with Workers("speaks", 1, dask) as workers:
        begun = time.perf_counter()
        asyncio.run(all_of(workers))
        return time.perf_counter() - begun


def prefect_tasks(requests: list[ClipRequest], dask: str) -> float:
    """Seconds for all clips as Prefect tasks on the same workers, in a flow that runs already."""
    from prefect import flow, task
    from prefect_dask import DaskTaskRunner

    from flows.services.prefect_server import prefect_api

    batches = [requests[at : at + TASK_OF] for at in range(0, len(requests), TASK_OF)]
    seconds = 0.0

    @task(persist_result=False)
    def speak_batch(batch: list[ClipRequest]) -> int:
        return sum(len(speak(request).flac or b"") for request in batch)

    @flow(task_runner=DaskTaskRunner(address=dask))
    def all_of() -> None:
        nonlocal seconds
        speak_batch.submit(batches[0]).result()
        begun = time.perf_counter()
        for future in [speak_batch.submit(batch) for batch in batches]:
            future.result()
        seconds = time.perf_counter() - begun

    with prefect_api():
        all_of()
    return seconds


def main() -> None:
    """Runs all, prints and writes down the figures."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with FakeTextServer() as server:
            recipe = write_recipe(folder / "r.toml", server.base_url)
            run = write_run(folder / "run", recipe, *SIZE)
        found: dict[str, Any] = {}
        for workers in (1, 2):
            place = folder / f"dask{workers}"
            place.mkdir()
            with DaskCluster(place, workers=workers) as cluster:
                cluster.wait_for(workers)
                stage(run, folder / f"warm{workers}", cluster.address)
                found[f"workers_{workers}"], requests = stage(
                    run, folder / f"store{workers}", cluster.address
                )
                if workers == 2:
                    found["calls"] = {"seconds": round(calls(requests, cluster.address), 2)}
                    seconds = prefect_tasks(requests, cluster.address)
                    found["prefect_tasks"] = {
                        "clips_in_a_task": TASK_OF,
                        "seconds": round(seconds, 2),
                    }
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        "load_before": round(load, 1),
        **found,
        "two_over_one": round(found["workers_1"]["seconds"] / found["workers_2"]["seconds"], 3),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
