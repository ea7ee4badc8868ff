"""Which devices PyTorch has here."""

import torch

from corpus.errors import InvalidInput


def devices_here() -> list[str]:
    """Every GPU that PyTorch can use, or else the CPU."""
    return [f"cuda:{n}" for n in range(torch.cuda.device_count())] or ["cpu"]


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
