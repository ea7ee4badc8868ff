"""The flow's encoder: what each token sounds like where it stands.

A pre-norm transformer with relative positions, in blocks of ten tokens: a token sees its own block
and everything before it. Its parameters have the published names.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from corpus.adapter.decoder.config import EncoderConfig


def positions(length: int, width: int) -> Tensor:
    """Sines and cosines [2 * length - 1, width] of distances from length - 1 down to its negative.

    The sinusoids of Attention Is All You Need, sine and cosine taking turns.
    """
    distance = torch.arange(length - 1, -length, -1, dtype=torch.float32)[:, None]
    steps = torch.arange(0, width, 2, dtype=torch.float32)
    angles = distance * torch.exp(steps * -(math.log(10_000.0) / width))
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


def seen(length: int, block: int) -> Tensor:
    """True where token i may attend to token j: [length, length], by i and j."""
    place = torch.arange(length)
    return place < (place[:, None] // block + 1) * block


class RelativeAttention(nn.Module):
    """Attention that scores a key by what it is and by how far to the left it lies."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, heads = config.output_size, config.attention_heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, width // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, width // heads))

    def _heads(self, hidden: Tensor) -> Tensor:
        return hidden.unflatten(-1, self.pos_bias_u.shape).transpose(-2, -3)

    def forward(self, hidden: Tensor, places: Tensor, mask: Tensor) -> Tensor:
        """Attends.

        Args:
            hidden: [batch, length, width].
            places: What `positions` gives, [2 * length - 1, width].
            mask: True where token i may attend to token j, [length, length].
        """
        query, key, value = (
            self._heads(layer(hidden)) for layer in (self.linear_q, self.linear_k, self.linear_v)
        )
        by_distance = (query + self.pos_bias_v[:, None]) @ self._heads(
            self.linear_pos(places)
        ).transpose(-1, -2)
        # Row r of the positions has distance length - 1 - r, and here the distance is i - j.
        length = hidden.shape[1]
        place = torch.arange(length, device=hidden.device)
        rows = length - 1 - (place[:, None] - place)
        bias = by_distance.gather(-1, rows.expand(*by_distance.shape[:2], -1, -1))
        bias = (bias / math.sqrt(query.shape[-1])).masked_fill(~mask, -math.inf)
        mixed = scaled_dot_product_attention(
            query + self.pos_bias_u[:, None], key, value, attn_mask=bias
        )
        return self.linear_out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two layers at each position."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.w_1 = nn.Linear(config.output_size, config.linear_units)
        self.w_2 = nn.Linear(config.linear_units, config.output_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, length, width] to the same."""
        return self.w_2(silu(self.w_1(hidden)))


class EncoderLayer(nn.Module):
    """One pre-norm layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self_attn = RelativeAttention(config)
        self.feed_forward = FeedForward(config)
        self.norm_mha = nn.LayerNorm(config.output_size)
        self.norm_ff = nn.LayerNorm(config.output_size)

    def forward(self, hidden: Tensor, places: Tensor, mask: Tensor) -> Tensor:
        """[batch, length, width] to the same."""
        hidden = hidden + self.self_attn(self.norm_mha(hidden), places, mask)
        return hidden + self.feed_forward(self.norm_ff(hidden))


class InputLayer(nn.Module):
    """What stands before the first layer, under its published name."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.out = nn.Sequential(
            nn.Linear(config.input_size, config.output_size), nn.LayerNorm(config.output_size)
        )


class Encoder(nn.Module):
    """The layers and the norm after the last."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.block = config.block_size
        self.embed = InputLayer(config)
        self.encoders = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_blocks))
        self.after_norm = nn.LayerNorm(config.output_size)

    def forward(self, embedded: Tensor) -> Tensor:
        """Embedded tokens [batch, length, width] to as many states."""
        hidden = self.embed.out(embedded)
        hidden = hidden * math.sqrt(hidden.shape[-1])
        _, length, width = hidden.shape
        places = positions(length, width).to(hidden.device)
        mask = seen(length, self.block).to(hidden.device)
        for layer in self.encoders:
            hidden = layer(hidden, places, mask)
        return self.after_norm(hidden)
