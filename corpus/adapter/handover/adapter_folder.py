"""An adapter folder: what lies in it, and whether that is a whole LoRA adapter."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import torch
from peft import LoraConfig, PeftConfig, PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from corpus.errors import InvalidInput
from corpus.git_lfs import require_fetched
from corpus.store.files import write_whole

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

# What peft calls the halves of a low-rank update, in a model whose layers are numbered.
_NAME = re.compile(
    r"base_model\.model\.(?:.+\.)?layers\.(?P<layer>\d+)\.(?:.+\.)?(?P<target>\w+)"
    r"\.lora_(?P<half>[AB])\.weight"
)


@dataclass(frozen=True, slots=True)
class Update:
    """The low-rank update of one weight: `b` @ `a`, still to be scaled."""

    a: Tensor
    b: Tensor


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter; `updates` by layer and name of the module."""

    config: LoraConfig
    updates: dict[tuple[int, str], Update]


def find_adapter(folder: Path) -> Path:
    """The adapter of a run folder, or the folder itself if it is an adapter.

    Raises:
        InvalidInput: there is none.
    """
    for found in (folder / "adapter", folder):
        if (found / CONFIG).is_file():
            return found
    raise InvalidInput(
        f"{folder} holds no adapter: neither it nor {folder / 'adapter'} has an {CONFIG}. "
        "'sympatheia train' makes one."
    )


def adapted(model: PreTrainedModel, folder: Path, base: str) -> PeftModel:
    """A base model with an adapter over it, in the base's type.

    Args:
        model: The base, loaded.
        folder: The adapter's.
        base: What the base is called, for the error.

    Raises:
        InvalidInput: The adapter is damaged, or another base's.
    """
    try:
        # In float32 beside the base it would only cost time.
        return PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise InvalidInput(
            f"{folder} holds no adapter that fits {base}: {' '.join(str(error).split())[:300]}"
        ) from error


def name_base(folder: Path, name: str | None) -> None:
    """Says in an adapter's configuration what it is over: a name on the Hub, and never a path."""
    path = folder / CONFIG
    config = orjson.loads(path.read_bytes()) | {"base_model_name_or_path": name}
    write_whole(path, orjson.dumps(config, option=orjson.OPT_INDENT_2))


def read_adapter(folder: Path) -> Adapter:
    """Reads an adapter, and sees that names and shapes are those its configuration announces.

    Raises:
        InvalidInput: it is not a LoRA adapter, or not a whole one.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InvalidInput(
                f"{folder} holds no adapter: {name} is missing. 'sympatheia train' makes one."
            )
    require_fetched(folder)
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInput(
            f"{folder / CONFIG} is no configuration of an adapter: {one_line(error)}. "
            "'sympatheia train' writes it anew."
        ) from error
    if not isinstance(config, LoraConfig):
        raise InvalidInput(f"{folder / CONFIG} is not that of a LoRA adapter.")
    try:
        weights = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise InvalidInput(
            f"{folder / WEIGHTS} cannot be read: {one_line(error)}. 'sympatheia train' writes it "
            "anew."
        ) from error
    if wrong := next(_misfits(config, weights), None):
        raise InvalidInput(
            f"{folder / WEIGHTS} is not what {CONFIG} says: {wrong}. Put the files of one training "
            "there."
        )
    halves: defaultdict[tuple[int, str], dict[str, Tensor]] = defaultdict(dict)
    for layer, target, half, weight in _named(weights):
        halves[layer, target][half] = weight
    return Adapter(config, {key: Update(both["A"], both["B"]) for key, both in halves.items()})


def _misfits(config: LoraConfig, weights: dict[str, Tensor]) -> Iterator[str]:
    """What is wrong with names and shapes, the first thing first."""
    said = config.target_modules or ()
    targets = {said} if isinstance(said, str) else set(said)
    layers: dict[str, set[int]] = {target: set() for target in sorted(targets)}
    shapes: dict[tuple[str, str], torch.Size] = {}
    for name, weight in weights.items():
        found = _NAME.fullmatch(name)
        if found is None or found["target"] not in targets:
            yield f"{name} belongs to no LoRA of {', '.join(sorted(targets))}"
            continue
        half, target = found["half"], found["target"]
        layers[target].add(int(found["layer"]))
        other = name.replace(f".lora_{half}.", ".lora_B." if half == "A" else ".lora_A.")
        if other not in weights:
            yield f"{other} is missing"
        if weight.dim() != 2 or weight.shape[0 if half == "A" else 1] != config.r:
            yield f"{name} has the shape {list(weight.shape)}, at a rank of {config.r}"
        if shapes.setdefault((target, half), weight.shape) != weight.shape:
            yield f"{name} has another shape than {target} of other layers"
    depth = max((layer + 1 for found in layers.values() for layer in found), default=1)
    for target, there in layers.items():
        for layer in sorted(set(range(depth)) - there)[:1]:
            yield f"{target} of layer {layer} is missing"


def _named(weights: dict[str, Tensor]) -> Iterator[tuple[int, str, str, Tensor]]:
    for name, weight in weights.items():
        if found := _NAME.fullmatch(name):
            yield int(found["layer"]), found["target"], found["half"], weight


def one_line(error: Exception) -> str:
    """What an error says, to be put into a sentence."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
