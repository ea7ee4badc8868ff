"""Starts a training in processes of its own: one, or one for each GPU by accelerate.

So memory that ran out ends the training and not what called it, and one way serves both. The order
goes to the processes as an argument; what the first of them has to tell comes back as lines of
JSON. They end when the caller does: they read its end of a pipe.
"""

import os
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import Any

import orjson
import torch
import torch.distributed

from corpus.adapter.training.lora_training import TrainingOrder, train
from corpus.adapter.training.trainer import Report
from corpus.adapter.training.training_folder import Trained, TrainingFolder
from corpus.errors import InvalidInput, SympatheiaError
from corpus.plan.recipe_files import with_overrides
from corpus.run.run_folder import RunFolder
from schemas.orders import AdapterOrder
from schemas.recipe import Recipe

LOG = "train.log"
_MARK = b"\x1e"
"""Before each line that is for the caller; libraries print what they like between them."""


def training_of(asked: AdapterOrder) -> tuple[TrainingOrder, Recipe]:
    """What an order for an adapter means on this machine, and the recipe of its corpus.

    Raises:
        InvalidInput: there is no run in the folder, or an override cannot be used.
    """
    run = RunFolder(asked.run_dir)
    recipe = with_overrides(run.read_recipe(), asked.overrides, ("adapter",))
    order = TrainingOrder(
        sequences=run.sequences,
        base=asked.base,
        output=asked.output or asked.run_dir / "adapter",
        settings=recipe.adapter,
        seed=recipe.seed,
        processes=asked.processes or max(1, torch.cuda.device_count()),
        deepspeed=asked.deepspeed,
    )
    return order, recipe


def launch(order: TrainingOrder, report: Report) -> Trained:
    """Has an adapter trained; returns when it is.

    Args:
        order: what to train.
        report: is told the figures of every step.

    Raises:
        InvalidInput, SympatheiaError: as `corpus.adapter.training.lora_training.train`.
        SympatheiaError: a process died; what it said last is in the sentence.
    """
    order.output.mkdir(parents=True, exist_ok=True)
    TrainingFolder(order.output).remove_torn()
    command = [sys.executable]
    if order.processes > 1:
        command += ["-m", "accelerate.commands.launch", "--num_machines", "1"]
        command += ["--num_processes", str(order.processes), "--dynamo_backend", "no"]
        # The precision is the Trainer's own business.
        command += ["--mixed_precision", "no", "--main_process_port", "0"]
    command += ["-m", "corpus.adapter.training.launch", order.model_dump_json()]
    log = order.output / LOG
    with log.open("w+b") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None
        told: dict[str, Any] = {}
        try:
            for line in process.stdout:
                if not line.startswith(_MARK):
                    file.write(line)
                    continue
                told = orjson.loads(line[1:])
                if "report" in told:
                    report(told["report"])
        finally:
            process.stdin.close()
            process.wait()
        if "trained" in told and process.returncode == 0:
            return Trained(**told["trained"])
        if "error" in told:
            kind = InvalidInput if told["code"] == InvalidInput.exit_code else SympatheiaError
            raise kind(told["error"])
        file.seek(0)
        said = file.read().decode(errors="replace").strip().splitlines()
    raise SympatheiaError(
        f"The training ended with exit code {process.returncode}"
        f"{': ' + said[-1][:300] if said else ''}. {log} has all it said; the same command "
        "continues at the last save."
    )


# What follows runs in the processes.


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.buffer.write(_MARK + orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_caller() -> None:
    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Trains what the order says; all processes of a training run this."""
    _end_with_caller()
    order = TrainingOrder.model_validate_json(sys.argv[1])
    first = os.environ.get("RANK", "0") == "0"
    try:
        trained = train(order, report=lambda figures: _tell({"report": figures}))
    except SympatheiaError as error:
        if first:
            _tell({"error": str(error), "code": error.exit_code})
        os._exit(error.exit_code)
    if first:
        _tell({"trained": asdict(trained)})
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    # The thread that waits for the caller would hold an orderly end.
    os._exit(0)


if __name__ == "__main__":
    main()
