"""Which devices PyTorch has here, and why it computes on those."""

from collections.abc import Sequence

import torch

from corpus.errors import InvalidInput
from corpus.preflight.gpus import look_at_gpus


def devices_here() -> list[str]:
    """Every GPU that PyTorch can use, or else the CPU."""
    return [f"cuda:{n}" for n in range(torch.cuda.device_count())] or ["cpu"]


def why(devices: Sequence[str] | None = None) -> str:
    """The devices that are computed on, and why those; with the remedy where a GPU stays idle.

    Args:
        devices: those that were asked for; None where every GPU is taken, or else the CPU.
    """
    if devices:
        return f"on {', '.join(devices)}, as asked for"
    seen = look_at_gpus()
    return f"on {', '.join(devices_here())}: {seen.sentence} {seen.remedy}".strip()


def device_named(name: str) -> torch.device:
    """A device by name, `cpu` or `cuda:0` for example.

    Raises:
        InvalidInput: There is none.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter from a build without CUDA
        raise InvalidInput(
            f"There is no device '{name}' that PyTorch can use here; there is "
            f"{', '.join(dict.fromkeys(['cpu', *devices_here()]))}."
        ) from error
    return device
