"""A Dask cluster as processes of this machine: a scheduler, and workers that can be killed."""

import subprocess
import sys
import time
from pathlib import Path

import orjson
from distributed import Client


def _names(dask_scheduler) -> set[str]:
    return set(dask_scheduler.task_prefixes)


class DaskCluster:
    """A scheduler and workers of one thread each, started one by one; a context manager."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._contact = folder / "scheduler.json"
        self._scheduler = self._start(
            "scheduler", "--port", "0", "--scheduler-file", str(self._contact)
        )
        deadline = time.monotonic() + 60
        while not self._contact.exists():
            assert self._scheduler.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        self.address: str = orjson.loads(self._contact.read_bytes())["address"]
        self.workers = [self.add_worker() for _ in range(workers)]

    def _start(self, what: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard"]
        command += ["--host", "127.0.0.1", *arguments]
        number = len(list(self._folder.glob(f"{what}*.log")))
        with (self._folder / f"{what}{number}.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)

    def add_worker(self) -> subprocess.Popen:
        # Without a nanny: what is killed here stays dead.
        return self._start("worker", self.address, "--nthreads", "1", "--no-nanny")

    def wait_for(self, workers: int) -> None:
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)

    def computed(self) -> set[str]:
        """Names of the functions that the cluster has been asked to compute."""
        with Client(self.address, set_as_default=False) as client:
            return client.run_on_scheduler(_names)

    def kill_scheduler(self) -> None:
        self._scheduler.kill()
        self._scheduler.wait()

    def __enter__(self) -> "DaskCluster":
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self._scheduler):
            process.kill()
            process.wait()
