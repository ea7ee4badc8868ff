"""One layer of GLM-4-Voice's language model, under the published names of its weights."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu
from transformers import GradientCheckpointingLayer
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from corpus.adapter.chatglm.config import ChatGLMConfig

_ROPE_THETA = 10_000.0
_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, computed and weighted in float32."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalises the last dimension."""
        return rms_norm(hidden, self.weight.shape, self.weight, self.epsilon)


def rotary(config: ChatGLMConfig, position_ids: Tensor) -> Tensor:
    """What turns pairs of channels at each position: complex [batch, length, kv_channels / 4]."""
    rotated = config.kv_channels // 2
    steps = torch.arange(0, rotated, 2, device=position_ids.device, dtype=torch.float32)
    frequencies = (_ROPE_THETA * config.rope_ratio) ** (-steps / rotated)
    angles = position_ids.float()[..., None] * frequencies
    return torch.polar(torch.ones_like(angles), angles)


def rotate(heads: Tensor, turn: Tensor) -> Tensor:
    """Rotates adjacent pairs in the first half of each head's channels.

    Args:
        heads: [batch, length, heads, kv_channels].
        turn: [batch, length, kv_channels / 4], complex.
    """
    first, rest = heads.chunk(2, dim=-1)
    pairs = torch.view_as_complex(first.float().unflatten(-1, (-1, 2)))
    turned = torch.view_as_real(pairs * turn[:, :, None]).flatten(-2)
    return torch.cat((turned.to(heads.dtype), rest), dim=-1)


def attend_apart(
    query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], dropout: float
) -> Tensor:
    """Causal attention within each of several sequences in a row, and not between them.

    One by one they need no mask, which would have every position look at all, and none of the fast
    kernels. The rows of a batch count as one.

    Args:
        query: [batch, heads, length, channels].
        key: [batch, groups, length, channels].
        value: The same.
        lengths: Of the sequences; their sum is batch x length.
        dropout: Share of the weights that is left out.

    Returns:
        [1, batch x length, heads, channels].
    """
    parts = [
        heads.transpose(0, 1).flatten(1, 2)[None].split(list(lengths), dim=2)
        for heads in (query, key, value)
    ]
    # cuDNN would plan anew for every length.
    with sdpa_kernel(_KERNELS):
        mixed = [
            scaled_dot_product_attention(q, k, v, None, dropout, is_causal=True, enable_gqa=True)
            for q, k, v in zip(*parts, strict=True)
        ]
    return torch.cat(mixed, dim=2).transpose(1, 2)


def attend_plainly(*asked: Any, **named: Any) -> tuple[Tensor, None]:  # noqa: ANN401
    """Attention by matrix products alone: what transformers calls eager."""
    with sdpa_kernel(SDPBackend.MATH):
        return sdpa_attention_forward(*asked, **named)


class SelfAttention(nn.Module):
    """Attention over fused queries, keys and values; a few key groups serve all heads."""

    is_causal = True

    def __init__(self, config: ChatGLMConfig, number: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = number
        self.heads, self.groups = config.num_attention_heads, config.multi_query_group_num
        self.num_key_value_groups = self.heads // self.groups
        width = config.kv_channels
        self.query_key_value = nn.Linear(
            config.hidden_size, (self.heads + 2 * self.groups) * width, bias=config.add_qkv_bias
        )
        self.dense = nn.Linear(self.heads * width, config.hidden_size, bias=False)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | Sequence[int] | None,
        turn: Tensor,
        cache: Cache | None,
        **flash: object,
    ) -> Tensor:
        """Attends, to what the cache holds as well, and adds to it.

        Args:
            hidden: [batch, length, hidden].
            mask: What sees what; or the lengths of sequences in a row.
            turn: Of `rotary`.
            cache: Keys and values of what came before.
            **flash: What flash attention needs to know of packed sequences.
        """
        batch, length, _ = hidden.shape
        heads = self.query_key_value(hidden).view(batch, length, -1, self.config.kv_channels)
        turned = rotate(heads[:, :, : -self.groups], turn)
        query, key, value = (
            part.transpose(1, 2)
            for part in (
                *turned.split((self.heads, self.groups), dim=2),
                heads[:, :, -self.groups :],
            )
        )
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        dropout = self.config.attention_dropout if self.training else 0.0
        if isinstance(mask, list):
            mixed = attend_apart(query, key, value, mask, dropout)
        else:
            named = self.config._attn_implementation
            attend = ALL_ATTENTION_FUNCTIONS.get_interface(named, attend_plainly)
            scale = self.config.kv_channels**-0.5
            mixed, _ = attend(
                self, query, key, value, mask, dropout=dropout, scaling=scale, **flash
            )
        return self.dense(mixed.reshape(batch, length, -1))


class MLP(nn.Module):
    """A gated feed-forward layer; gate and value are fused."""

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 2 * config.ffn_hidden_size, bias=False)
        self.dense_4h_to_h = nn.Linear(config.ffn_hidden_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Applies it at each position."""
        gate, value = self.dense_h_to_4h(hidden).chunk(2, dim=-1)
        return self.dense_4h_to_h(silu(gate) * value)


class Layer(GradientCheckpointingLayer):
    """One pre-norm layer."""

    def __init__(self, config: ChatGLMConfig, number: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.layernorm_epsilon)
        self.self_attention = SelfAttention(config, number)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.layernorm_epsilon)
        self.mlp = MLP(config)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | Sequence[int] | None,
        turn: Tensor,
        cache: Cache | None,
        **flash: object,
    ) -> Tensor:
        """[batch, length, hidden] to the same."""
        normal = self.input_layernorm(hidden)
        hidden = hidden + self.self_attention(normal, mask, turn, cache, **flash)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))
