"""The folder of a training: its checkpoints, what it was begun from, and the finished adapter."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from corpus.adapter.handover.adapter_folder import CONFIG, WEIGHTS
from corpus.errors import InvalidInput
from corpus.run.run_folder import TRAINED
from corpus.store.files import write_whole
from schemas.recipe import Adapter

_HOW_LONG = ("epochs", "max_steps")
_SPEED = {"attention", "gradient_checkpointing", "peak_tflops"}
"""Settings that change nothing of what is learnt."""


@dataclass(frozen=True)
class Trained:
    """What came of it: losses by name, every step's figures, what the model was trained on."""

    steps: int
    best_step: int
    losses: dict[str, float]
    history: list[dict[str, Any]]
    data: dict[str, Any]


class TrainingFolder:
    """Where an adapter is trained and ends up.

    Attributes:
        checkpoints: where the Trainer saves.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.checkpoints = str(root / "checkpoints")
        self._begun = root / "checkpoints" / "begun.json"
        self._done = root / TRAINED

    def remove_torn(self) -> None:
        """Removes checkpoints that were being written when their training was killed.

        Their state is written last, so one that has it is whole.
        """
        for path in Path(self.checkpoints).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            try:
                json.loads((path / "trainer_state.json").read_bytes())
            except (OSError, json.JSONDecodeError):
                shutil.rmtree(path)

    def begin(
        self, base: str | Path, settings: Adapter, seed: int, data: dict[str, Any]
    ) -> Trained | None:
        """Says what is trained here; gives what came of it, if it was finished before.

        Raises:
            InvalidInput: something else was begun here.
        """
        said = {"base": str(base), "seed": seed, "data": data}
        said |= settings.model_dump(mode="json", exclude=_SPEED)
        if self._begun.is_file():
            before = json.loads(self._begun.read_bytes())
            changed = [
                name for name in said if name not in _HOW_LONG and before.get(name) != said[name]
            ]
            if changed:
                raise InvalidInput(
                    f"{self._root} holds the checkpoints of another training: its {changed[0]} "
                    "differs. Name another --output, or delete them."
                )
        if self._done.is_file() and (self._root / WEIGHTS).is_file():
            done = json.loads(self._done.read_bytes())
            if done["begun"] == said:
                return Trained(**done["trained"])
        write_whole(self._begun, json.dumps(said, indent=1).encode())
        return None

    def finish(self, saved: Path, trained: Trained) -> None:
        """Puts a saved adapter in its place, and says that nothing is left to be done."""
        for name in (WEIGHTS, CONFIG):
            (saved / name).chmod(0o644)  # peft's writer keeps it to its owner
            (saved / name).replace(self._root / name)
        shutil.rmtree(saved)
        begun = json.loads(self._begun.read_bytes())
        done = {"begun": begun, "trained": asdict(trained)}
        write_whole(self._done, json.dumps(done, indent=1).encode())
