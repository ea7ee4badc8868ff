"""A real Prefect server and worker as processes of this machine, which can be killed."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from flows.services.prefect_server import blank_database
from tests.support.line import SYMPATHEIA

PREFECT = Path(sys.executable).with_name("prefect")
LONGEST_WAIT = 240.0
OVER = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONGEST_WAIT
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


class PrefectCluster:
    """A Prefect server with one worker, and a pool of GPUs that nobody works for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/api"
        self.env = os.environ | {
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "0.5",
            "PREFECT_CLI_PROMPT": "false",
            "DO_NOT_TRACK": "1",
        }
        (folder / "home").mkdir()
        shutil.copyfile(blank_database(), folder / "home" / "prefect.db")

    def __enter__(self) -> "PrefectCluster":
        self.server = self.start_server()
        try:
            self.deploy()  # the server is not up yet: it is waited for
            self.worker = self.start_worker()
        except BaseException:
            end(self.server)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        end(self.worker)
        end(self.server)

    def start_server(self) -> psutil.Process:
        return self._start("server", "start", "--port", str(self._port))

    def start_worker(self) -> psutil.Process:
        return self._start("worker", "start", "--pool", "sympatheia", "--type", "process")

    def _start(self, *command: str) -> psutil.Process:
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            return psutil.Popen(
                [PREFECT, *command], cwd=self.folder, env=self.env, stdout=log, stderr=log
            )

    def deploy(self) -> None:
        command = [SYMPATHEIA, "deploy", "--gpu-pool", "gpu"]
        ran = subprocess.run(command, env=self.env, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr

    def prefect(self, *arguments: str) -> str:
        ran = subprocess.run(
            [PREFECT, *arguments], env=self.env, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    # The API

    def call(self, method: str, path: str, **body: object) -> httpx.Response:
        """What the API answers, once its SQLite is not too busy with others to do so."""
        deadline = time.monotonic() + LONGEST_WAIT
        while True:
            answer = httpx.request(method, f"{self.url}/{path}", json=body or None, timeout=30)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                return answer
            time.sleep(0.5)

    def found(self, path: str, **body: object) -> list[dict]:
        return self.call("POST", f"{path}/filter", **body).json()

    def deployment(self, name: str) -> dict:
        return self.call("GET", f"deployments/name/{name}").json()

    def start(self, order: dict) -> httpx.Response:
        deployment = self.deployment("corpus/sympatheia")["id"]
        path = f"deployments/{deployment}/create_flow_run"
        return self.call("POST", path, parameters={"order": order})

    def run(self, run_id: str) -> dict:
        return self.call("GET", f"flow_runs/{run_id}").json()

    def ended(self, run_id: str, *, after: int = 0) -> dict:
        """The run, once it has ended; with `after`, once it has been started more often."""

        def is_over() -> bool:
            run = self.run(run_id)
            return run["run_count"] > after and run["state"]["type"] in OVER

        until(is_over)
        return self.run(run_id)

    def artifacts(self, run_id: str) -> dict[str, dict]:
        of_run = {"flow_run_id": {"any_": [run_id]}}
        return {a["key"]: a for a in self.found("artifacts", artifacts=of_run)}


def end(process: psutil.Process) -> None:
    """Ends a process, by its id, with all that it started."""
    if not process.is_running():
        return
    children = process.children(recursive=True)
    process.terminate()
    for left in psutil.wait_procs([process], timeout=20)[1]:
        left.kill()
    for child in psutil.wait_procs(children, timeout=5)[1]:
        child.kill()


def kill(process: psutil.Process) -> None:
    """Kills a process and all that it started, as the loss of its machine would."""
    for each in (process, *process.children(recursive=True)):
        each.kill()
    psutil.wait_procs([process])
