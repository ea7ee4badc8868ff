"""The weights of a decoder's networks, from the files of a published checkpoint.

A file of PyTorch's is a pickle, which could hold any code: it is read as tensors alone, or refused.
"""

import struct
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from corpus.adapter.decoder.config import PUBLISHED
from corpus.errors import InvalidInput

SUFFIXES = (".safetensors", ".pt")
"""The first that is there is read."""
_DAMAGED = (
    *(OSError, EOFError, LookupError, TypeError, AttributeError, AssertionError),
    *(ValueError, RuntimeError, struct.error, SafetensorError),
)
"""What reading a damaged file comes to, somewhere within PyTorch and safetensors."""
_LENGTH, _DIRECTION = ".weight_g", ".weight_v"


def weights_file(folder: Path, name: str) -> Path:
    """The file of a network's weights, `flow.pt` for example.

    Raises:
        InvalidInput: There is none.
    """
    for suffix in SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise InvalidInput(
        f"{folder} holds no speech decoder: it has no {name}.pt and no {name}.safetensors. Give "
        f"the folder of {PUBLISHED}, with its config.yaml."
    )


def load_weights(network: nn.Module, path: Path, config: Path) -> None:
    """Gives a network, made on the meta device, the weights of a file, as float32.

    Args:
        network: Its parameters have the names of the file.
        path: Convolutions may be held as direction and length, `weight_v` and `weight_g`.
        config: What the network was made from, for the error.

    Raises:
        InvalidInput: The file cannot be read, or holds other weights.
    """
    found = _whole(_tensors(path), path)
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        shape = tuple(tensor.shape)
        if name not in found:
            raise InvalidInput(
                f"{path} lacks '{name}', which {config.name} has it hold in the shape {shape}. "
                "Give both files of one checkpoint."
            )
        if tuple(found[name].shape) != shape:
            raise InvalidInput(
                f"{path} holds '{name}' in the shape {tuple(found[name].shape)}, but {config.name} "
                f"makes it {shape}. Give both files of one checkpoint."
            )
    unknown = sorted(found.keys() - wanted.keys())
    if unknown:
        raise InvalidInput(
            f"{path} holds '{unknown[0]}', which a decoder of {config.name} does not have "
            f"({len(unknown)} such weights). Give both files of one checkpoint."
        )
    # Copies: a file's own memory begins anywhere, and sums are rounded by where it does.
    copies = {name: found[name].to(torch.float32, copy=True) for name in wanted}
    network.load_state_dict(copies, assign=True)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise InvalidInput(
            f"{path} holds more than tensors, or is no file of PyTorch's, and is not read. Give "
            "the published file, or a .safetensors of the same weights."
        ) from error
    except _DAMAGED as error:
        raise InvalidInput(
            f"{path} cannot be read ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}). Fetch it anew."
        ) from error
    named = isinstance(found, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    )
    if not named:
        raise InvalidInput(f"{path} holds no weights by name. Give the published file.")
    return found


def _whole(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The same weights, those that are held as direction and length multiplied out."""
    whole = {}
    for name, tensor in tensors.items():
        if name.endswith(_DIRECTION):
            stem = name.removesuffix(_DIRECTION)
            length = tensors.get(stem + _LENGTH)
            expected = (len(tensor), *(1 for _ in tensor.shape[1:]))
            if length is None or tuple(length.shape) != expected:
                raise InvalidInput(
                    f"{path} lacks '{stem}{_LENGTH}' in the shape {expected}, which belongs to "
                    f"'{name}'. Fetch the file anew."
                )
            direction = tensor.float()
            norm = direction.flatten(1).norm(dim=1).view(expected)
            whole[f"{stem}.weight"] = direction * (length.float() / norm)
        elif not name.endswith(_LENGTH):
            whole[name] = tensor
        elif name.removesuffix(_LENGTH) + _DIRECTION not in tensors:
            raise InvalidInput(
                f"{path} lacks '{name.removesuffix(_LENGTH)}{_DIRECTION}', which belongs to "
                f"'{name}'. Fetch the file anew."
            )
    return whole
