"""Sound at another rate, to the bit as the published checkpoints were trained to hear it."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad


@lru_cache(maxsize=8)
def _resampling_kernel(old: int, new: int) -> tuple[Tensor, int]:
    """Filters [new, 1, width] of a band-limited resampling, and their reach to one side.

    A sinc under a Hann window over six zero crossings to each side, cut off at 0.99 of the lower
    band: what torchaudio's `Resample` takes by default (Smith, Digital Audio Resampling).
    """
    crossings, rolloff = 6, 0.99
    band = min(old, new) * rolloff
    reach = math.ceil(crossings * old / band)
    # Time of each input sample from each output phase, in zero crossings.
    samples = torch.arange(-reach, reach + old, dtype=torch.float64) / old
    phases = torch.arange(0, -new, -1, dtype=torch.float64)[:, None, None] / new
    time = ((phases + samples) * band).clamp(-crossings, crossings)
    window = torch.cos(time * math.pi / crossings / 2).square()
    return (torch.sinc(time) * window * band / old).float(), reach


def resample(sound: Tensor, rate: int, wanted: int) -> Tensor:
    """Samples (samples,) at `rate` Hz as samples at `wanted` Hz."""
    common = math.gcd(rate, wanted)
    old, new = rate // common, wanted // common
    if old == new:
        return sound
    kernel, reach = _resampling_kernel(old, new)
    padded = pad(sound[None, None], (reach, reach + old))
    out = conv1d(padded, kernel.to(sound.device), stride=old)
    return out[0].T.reshape(-1)[: math.ceil(new * len(sound) / old)]
