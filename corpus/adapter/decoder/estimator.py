"""The U-Net that says where noise is to flow to become the mel of some tokens.

Convolutions and transformer blocks over frames: two levels down, several in the middle at half the
frames, two up. Clips of several lengths may stand in a batch: a mask keeps what is padded out of
every convolution, norm and attention, so that a clip's own frames do not depend on it. Parameters
have the published names.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, group_norm, mish, scaled_dot_product_attention, silu

from corpus.adapter.decoder.config import EstimatorConfig

_GROUPS = 8
"""Of channels that are normed together, in every published U-Net of this kind."""
_TIME_WIDTH = 4
"""How many times wider than the first level the embedding of time is."""
_TIME_SCALE = 1000
"""What the time, 0 to 1, is multiplied by before its sinusoids are taken."""


class FrameNorm(nn.GroupNorm):
    """Norms groups of channels over all frames that are real."""

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """[batch, channels, frames] to the same; `mask` [batch, 1, frames], None if all is real."""
        if mask is None:
            return group_norm(frames, self.num_groups, self.weight, self.bias, self.eps)
        grouped = frames.unflatten(1, (self.num_groups, -1))
        real = mask[:, :, None]
        count = real.sum(-1, keepdim=True) * grouped.shape[2]
        centred = grouped - (grouped * real).sum((2, 3), keepdim=True) / count
        variance = (centred * real).square().sum((2, 3), keepdim=True) / count
        normed = (centred * (variance + self.eps).rsqrt()).flatten(1, 2)
        return normed * self.weight[:, None] + self.bias[:, None]


def masked(frames: Tensor, mask: Tensor | None) -> Tensor:
    """Frames [batch, channels, frames] with zeros where they are padded."""
    return frames if mask is None else frames * mask


class ConvBlock(nn.Module):
    """A convolution over three frames, a norm, Mish."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            [nn.Conv1d(inner, outer, 3, padding=1), FrameNorm(_GROUPS, outer)]
        )

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """[batch, inner, frames] to [batch, outer, frames]."""
        convolution, norm = self.block
        return masked(mish(norm(convolution(masked(frames, mask)), mask)), mask)


class ResnetBlock(nn.Module):
    """Two blocks of convolution, with the time added between them."""

    def __init__(self, inner: int, outer: int, time: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time, outer))
        self.block1 = ConvBlock(inner, outer)
        self.block2 = ConvBlock(outer, outer)
        self.res_conv = nn.Conv1d(inner, outer, 1)

    def forward(self, frames: Tensor, time: Tensor, mask: Tensor | None) -> Tensor:
        """[batch, inner, frames] to [batch, outer, frames]."""
        hidden = self.block1(frames, mask) + self.mlp(time)[:, :, None]
        return self.block2(hidden, mask) + self.res_conv(masked(frames, mask))


class Attention(nn.Module):
    """Full attention of frames to frames."""

    def __init__(self, width: int, config: EstimatorConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        inner = config.num_heads * config.attention_head_dim
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner, width)])

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """[batch, frames, width] to the same; `mask` is true where a frame is real."""
        query, key, value = (
            layer(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        real = None if mask is None else mask[:, None].bool()
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=real)
        return self.to_out[0](mixed.transpose(1, 2).flatten(2))


class Projection(nn.Module):
    """A linear layer with an exact GELU, under its published name."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inner, outer)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, frames, inner] to [batch, frames, outer]."""
        return gelu(self.proj(hidden))


class FeedForward(nn.Module):
    """Two layers at each frame, the first four times as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # The published one has dropout in the middle, which takes a number.
        self.net = nn.Sequential(
            Projection(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, frames, width] to the same."""
        return self.net(hidden)


class TransformerBlock(nn.Module):
    """One pre-norm block; the published names leave out a second attention."""

    def __init__(self, width: int, config: EstimatorConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, config)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """[batch, frames, width] to the same."""
        hidden = hidden + self.attn1(self.norm1(hidden), mask)
        return hidden + self.ff(self.norm3(hidden))


class Level(nn.ModuleList):
    """A ResNet block, transformer blocks, and (but in the middle) what leads to the next level."""

    def __init__(self, inner: int, config: EstimatorConfig, onward: nn.Module | None) -> None:
        width = config.channels[0]
        parts: list[nn.Module] = [
            ResnetBlock(inner, width, _TIME_WIDTH * width),
            nn.ModuleList(TransformerBlock(width, config) for _ in range(config.n_blocks)),
        ]
        super().__init__(parts if onward is None else [*parts, onward])

    def forward(self, frames: Tensor, time: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """[batch, inner, frames] to [batch, width, frames], and what goes to the next level."""
        resnet, blocks, *onward = self
        hidden = resnet(frames, time, mask).transpose(1, 2)
        for block in blocks:  # type: ignore[attr-defined]  # a list of modules
            hidden = block(hidden, mask)
        hidden = hidden.transpose(1, 2)
        return hidden, onward[0](masked(hidden, mask)) if onward else hidden


class Resampling(nn.Module):
    """Halves or doubles the frames, under its published name."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, frames: Tensor) -> Tensor:
        """[batch, width, frames] to half or twice the frames."""
        return self.conv(frames)


class TimeEmbedding(nn.Module):
    """The time of the flow, 0 to 1, as a vector."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.waves = inner // 2
        self.linear_1 = nn.Linear(inner, outer)
        self.linear_2 = nn.Linear(outer, outer)

    def forward(self, time: Tensor) -> Tensor:
        """A time [] as [1, outer]."""
        steps = torch.arange(self.waves, device=time.device, dtype=torch.float32)
        angles = _TIME_SCALE * time * torch.exp(steps * -(math.log(10_000.0) / (self.waves - 1)))
        embedded = torch.cat((angles.sin(), angles.cos()))[None]
        return self.linear_2(silu(self.linear_1(embedded)))


class Estimator(nn.Module):
    """The U-Net."""

    def __init__(self, config: EstimatorConfig) -> None:
        super().__init__()
        width = config.channels[0]
        down, up = nn.Conv1d(width, width, 3, 2, 1), nn.ConvTranspose1d(width, width, 4, 2, 1)
        self.time_mlp = TimeEmbedding(config.in_channels, _TIME_WIDTH * width)
        self.down_blocks = nn.ModuleList(
            [
                Level(config.in_channels, config, Resampling(down)),
                Level(width, config, nn.Conv1d(width, width, 3, padding=1)),
            ]
        )
        self.mid_blocks = nn.ModuleList(
            Level(width, config, None) for _ in range(config.num_mid_blocks)
        )
        self.up_blocks = nn.ModuleList(
            [
                Level(2 * width, config, Resampling(up)),
                Level(2 * width, config, nn.Conv1d(width, width, 3, padding=1)),
            ]
        )
        self.final_block = ConvBlock(width, width)
        self.final_proj = nn.Conv1d(width, config.out_channels, 1)

    def forward(self, noisy: Tensor, given: Tensor, time: Tensor, mask: Tensor | None) -> Tensor:
        """The direction [batch, bins, frames] in which the mel lies.

        Args:
            noisy: What has become of the noise by now, [batch, bins, frames].
            given: What the mel is to follow, [batch, 3 * bins, frames]: the tokens' states, the
                speaker, and the frames that are known.
            time: Of the flow, 0 to 1, [].
            mask: 1 where a frame is real, [batch, 1, frames]; None if all are.
        """
        embedded = self.time_mlp(time)
        masks = [mask, None if mask is None else mask[:, :, ::2]]
        hidden = torch.cat((noisy, given), dim=1)
        skipped: list[Tensor] = []
        for level, real in zip(self.down_blocks, masks, strict=True):
            skip, hidden = level(hidden, embedded, real)
            skipped.append(skip)
        for level in self.mid_blocks:
            _, hidden = level(hidden, embedded, masks[1])
        for level, real in zip(self.up_blocks, reversed(masks), strict=True):
            skip = skipped.pop()
            # Of an odd number of frames, half and twice is one more.
            hidden = torch.cat((hidden[:, :, : skip.shape[2]], skip), dim=1)
            _, hidden = level(hidden, embedded, real)
        hidden = self.final_block(hidden, mask)
        return masked(self.final_proj(masked(hidden, mask)), mask)
