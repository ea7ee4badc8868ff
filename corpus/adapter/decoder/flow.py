"""Tokens to mel: an encoder, a stretch from tokens to frames, and a flow from noise to mel.

The flow is followed in ten steps of Euler. At each the U-Net is asked twice, once with what the mel
is to follow and once without, and goes further where the two differ (classifier-free guidance).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, pad

from corpus.adapter.decoder.config import FlowConfig, RegulatorConfig
from corpus.adapter.decoder.encoder import Encoder
from corpus.adapter.decoder.estimator import Estimator

STEPS = 10
"""Of the solver; the published code has this number and no setting for it."""


@dataclass(frozen=True)
class Clip:
    """What one mel is made of; the prompt goes first.

    Attributes:
        tokens: Those of the prompt and then the clip's own, int64 [tokens].
        noise: Where the flow begins, [bins, frames]; it says how many frames there are.
        prompt: Frames that are known, [bins, frames]; none if there is no prompt.
    """

    tokens: Tensor
    noise: Tensor
    prompt: Tensor


class LengthRegulator(nn.Module):
    """Stretches the states of tokens to frames and smooths them."""

    def __init__(self, config: RegulatorConfig) -> None:
        super().__init__()
        bins = config.channels
        stages: list[nn.Module] = []
        for _ in config.sampling_ratios:
            stages += [nn.Conv1d(bins, bins, 3, padding=1), nn.GroupNorm(1, bins), nn.Mish()]
        self.model = nn.Sequential(*stages, nn.Conv1d(bins, bins, 1))

    def forward(self, states: Tensor, frames: int) -> Tensor:
        """[batch, tokens, bins] to [batch, bins, frames]."""
        hidden = interpolate(states.transpose(1, 2), size=frames)  # the nearest token's
        return self.model(hidden)


class FlowMatching(nn.Module):
    """Holds the U-Net under its published name."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.estimator = Estimator(config.decoder.estimator)
        self.guidance = config.decoder.cfm_params.inference_cfg_rate

    def forward(self, noise: Tensor, given: Tensor, mask: Tensor | None) -> Tensor:
        """Follows the flow from noise to mel, [batch, bins, frames]; see `Estimator.forward`."""
        with_and_without = torch.cat((given, torch.zeros_like(given)))
        both = None if mask is None else mask.repeat(2, 1, 1)
        # On the CPU: a step's length is to be the same number on every device.
        times = 1 - torch.cos(torch.linspace(0, 1, STEPS + 1) * 0.5 * math.pi)
        mel, time = noise, times[0]
        for step in range(1, STEPS + 1):
            length = times[step] - time
            guided, free = self.estimator(
                mel.repeat(2, 1, 1), with_and_without, time.to(mel.device), both
            ).chunk(2)
            mel = mel + length * ((1 + self.guidance) * guided - self.guidance * free)
            time = time + length
        return mel


class Flow(nn.Module):
    """The whole; its parameters have the published names."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        bins = config.output_size
        self.input_embedding = nn.Embedding(config.vocab_size, config.input_size)
        self.spk_embed_affine_layer = nn.Linear(config.spk_embed_dim, bins)
        self.encoder = Encoder(config.encoder)
        self.encoder_proj = nn.Linear(config.encoder.output_size, bins)
        self.length_regulator = LengthRegulator(config.length_regulator)
        self.decoder = FlowMatching(config)

    def forward(self, clips: Sequence[Clip], speaker: Tensor | None = None) -> list[Tensor]:
        """The mel of each clip, its prompt's frames included, [bins, frames].

        Args:
            clips: Each has a token at least.
            speaker: An embedding [width] for all clips; None is what GLM-4-Voice gives, zeros.
        """
        frames = [clip.noise.shape[1] for clip in clips]
        given = [self._given(clip, speaker) for clip in clips]
        noise = [clip.noise.to(part) for clip, part in zip(clips, given, strict=True)]
        # A batch without padding takes the way of one clip.
        mask = _mask(frames).to(given[0]) if len(set(frames)) > 1 else None
        mel = self.decoder(_padded(noise), _padded(given), mask)
        return [row[:, :size] for row, size in zip(mel, frames, strict=True)]

    def _given(self, clip: Clip, speaker: Tensor | None) -> Tensor:
        """What the mel of a clip is to follow, [3 * bins, frames]; see `Estimator.forward`.

        For each clip by itself: it is little work, and so the rest of a batch has no part in it.
        """
        frames = clip.noise.shape[1]
        states = self.states(clip.tokens, frames)
        voice = self.voice(speaker)[:, None].expand_as(states)
        known = pad(clip.prompt.to(states), (0, frames - clip.prompt.shape[1]))
        return torch.cat((states, voice, known))

    def states(self, tokens: Tensor, frames: int) -> Tensor:
        """What the encoder makes of tokens [tokens], [bins, frames]."""
        embedded = self.input_embedding(tokens.to(self.input_embedding.weight.device))
        hidden = self.encoder_proj(self.encoder(embedded[None]))
        return self.length_regulator(hidden, frames)[0]

    def voice(self, speaker: Tensor | None) -> Tensor:
        """A speaker's embedding [width], or none, as [bins]."""
        layer = self.spk_embed_affine_layer
        if speaker is None:
            return layer.bias
        return layer(normalize(speaker.to(layer.weight), dim=0, eps=1e-12))


def _padded(parts: Sequence[Tensor]) -> Tensor:
    """Parts [channels, frames] as one batch, with zeros at the end of the shorter."""
    longest = max(part.shape[1] for part in parts)
    return torch.stack([pad(part, (0, longest - part.shape[1])) for part in parts])


def _mask(frames: Sequence[int]) -> Tensor:
    """1 where a frame is real, [batch, 1, frames]."""
    return (torch.arange(max(frames)) < torch.tensor(frames)[:, None])[:, None]
