"""What runs in a child: `python -m flows.services KIND PORT ...`."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from flows.services.text_servers import VLLM_STOP_SECONDS


def wait_for_parent() -> None:
    """Returns when the parent has ended, or has closed the pipe."""
    # Not through sys.stdin: a thread that waits there has an orderly end of the process fail.
    while os.read(0, 1):
        pass


def end_with_parent(home: Path | None) -> None:
    """Ends this process the moment its parent does; nothing in it is worth a farewell."""

    def wait() -> None:
        wait_for_parent()
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def supervise(command: list[str]) -> None:
    """Runs a server that knows nothing of its parent, and ends it and its workers with us."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def end_group() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(VLLM_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def end() -> None:
        wait_for_parent()
        end_group()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    process.wait()
    end_group()
    sys.exit(1)


def main(arguments: list[str]) -> None:
    """The child's body: one of the cases below."""
    match arguments:
        case ["prepare"]:
            from corpus.embedding.minilm import converted
            from flows.services.prefect_server import prepare

            converted()
            prepare()
        case ["text", port, threads]:
            from corpus.voices import embedded_text_server

            end_with_parent(None)
            embedded_text_server.serve(int(port), int(threads))
        case ["vllm", port, python, *more]:
            module = [python, "-m", "vllm.entrypoints.openai.api_server"]
            supervise([*module, "--host", "127.0.0.1", "--port", port, *more])
        case ["prefect", port, home]:
            from flows.services.prefect_server import serve

            end_with_parent(Path(home))
            serve(int(port), Path(home))
        case _:
            raise SystemExit(f"unknown service: {arguments}")


if __name__ == "__main__":
    main(sys.argv[1:])
