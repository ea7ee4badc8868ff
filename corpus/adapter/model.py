"""GLM-4-Voice's language model with the published names of its weights.

The published checkpoint comes with code of its own, which transformers 5 cannot load; transformers'
GlmForCausalLM gives the same logits but splits the fused weights, and an adapter trained on the
parts does not fit the published ones. Here the fused names stay, so adapters go back and forth key
for key, and everything between the weights is transformers' own: attention, masks, saving, loading.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, rms_norm, silu
from torch.utils.checkpoint import checkpoint
from transformers import (
    GenerationMixin,
    GradientCheckpointingLayer,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.logging import disable_progress_bar

from corpus.errors import InvalidInput

IGNORED = -100
"""A label that counts nowhere, as transformers and PyTorch have it."""
LOSS_CHUNK = 1024
"""Positions whose logits exist at once while a loss is computed: 0.7 GB in float32 at the published
vocabulary of 168,960."""
RANDOM = "random_weights"
"""A key of `config.json` by which a checkpoint made for a demonstration says so."""
_ROPE_THETA = 10_000.0


class ChatGLMConfig(PretrainedConfig):
    """The published `config.json`; the names are ChatGLM's."""

    model_type = "chatglm"
    attribute_map = {  # noqa: RUF012  (transformers' way)
        "num_hidden_layers": "num_layers",
        "intermediate_size": "ffn_hidden_size",
        "head_dim": "kv_channels",
        "num_key_value_heads": "multi_query_group_num",
        "vocab_size": "padded_vocab_size",
        "max_position_embeddings": "seq_length",
    }

    def __init__(
        self,
        num_layers: int = 40,
        hidden_size: int = 4096,
        ffn_hidden_size: int = 13696,
        kv_channels: int = 128,
        num_attention_heads: int = 32,
        multi_query_group_num: int = 2,
        padded_vocab_size: int = 168_960,
        seq_length: int = 8192,
        layernorm_epsilon: float = 3.90625e-08,
        rope_ratio: float = 1.0,
        add_qkv_bias: bool = True,
        attention_dropout: float = 0.0,
        initializer_range: float = 0.02,
        **others: Any,  # noqa: ANN401  (whatever else stands in the file)
    ) -> None:
        self.num_layers = num_layers
        self.hidden_size = hidden_size
        self.ffn_hidden_size = ffn_hidden_size
        self.kv_channels = kv_channels
        self.num_attention_heads = num_attention_heads
        self.multi_query_group_num = multi_query_group_num
        self.padded_vocab_size = padded_vocab_size
        self.seq_length = seq_length
        self.layernorm_epsilon = layernorm_epsilon
        self.rope_ratio = rope_ratio
        self.add_qkv_bias = add_qkv_bias
        self.attention_dropout = attention_dropout
        self.initializer_range = initializer_range
        for repeated in self.attribute_map:
            others.pop(repeated, None)
        super().__init__(**others)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, computed and weighted in float32."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalises the last dimension."""
        return rms_norm(hidden, self.weight.shape, self.weight, self.epsilon)


def rotary(config: ChatGLMConfig, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [batch, length, kv_channels / 4] of the positions, float32."""
    rotated = config.kv_channels // 2
    steps = torch.arange(0, rotated, 2, device=position_ids.device, dtype=torch.float32)
    frequencies = (_ROPE_THETA * config.rope_ratio) ** (-steps / rotated)
    angles = position_ids.float()[..., None] * frequencies
    return angles.cos(), angles.sin()


def rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotates adjacent pairs in the first half of each head's channels.

    Args:
        heads: [batch, heads, length, kv_channels].
        cosine: [batch, length, kv_channels / 4].
        sine: The same.
    """
    first, rest = heads.chunk(2, dim=-1)
    even, odd = first.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = cosine[:, None], sine[:, None]
    turned = torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), dim=-1)
    return torch.cat((turned.flatten(-2).to(heads.dtype), rest), dim=-1)


class SelfAttention(nn.Module):
    """Attention over fused queries, keys and values; a few key groups serve all heads."""

    is_causal = True

    def __init__(self, config: ChatGLMConfig, number: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = number
        channels = config.kv_channels
        self.sizes = [
            config.num_attention_heads * channels,
            config.multi_query_group_num * channels,
            config.multi_query_group_num * channels,
        ]
        self.num_key_value_groups = config.num_attention_heads // config.multi_query_group_num
        self.query_key_value = nn.Linear(
            config.hidden_size, sum(self.sizes), bias=config.add_qkv_bias
        )
        self.dense = nn.Linear(self.sizes[0], config.hidden_size, bias=False)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        turn: tuple[Tensor, Tensor],
        cache: Cache | None,
        **flash: object,
    ) -> Tensor:
        """Attends, to what the cache holds as well, and adds to it.

        `flash` is what flash attention needs to know of packed sequences.
        """
        batch, length, _ = hidden.shape
        query, key, value = (
            part.view(batch, length, -1, self.config.kv_channels).transpose(1, 2)
            for part in self.query_key_value(hidden).split(self.sizes, dim=-1)
        )
        query, key = rotate(query, *turn), rotate(key, *turn)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        mixed, _ = attend(
            self,
            query,
            key,
            value,
            mask,
            dropout=self.config.attention_dropout if self.training else 0.0,
            scaling=self.config.kv_channels**-0.5,
            **flash,
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
        mask: Tensor | None,
        turn: tuple[Tensor, Tensor],
        cache: Cache | None,
        **flash: object,
    ) -> Tensor:
        """[batch, length, hidden] to the same."""
        normal = self.input_layernorm(hidden)
        hidden = hidden + self.self_attention(normal, mask, turn, cache, **flash)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class Embedding(nn.Module):
    """The word embeddings, under their published name."""

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.padded_vocab_size, config.hidden_size)


class Encoder(nn.Module):
    """The layers and the norm after the last."""

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, n) for n in range(config.num_layers))
        self.final_layernorm = RMSNorm(config.hidden_size, config.layernorm_epsilon)


class Transformer(nn.Module):
    """All that has weights, under the prefix of the published names."""

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        self.embedding = Embedding(config)
        self.encoder = Encoder(config)
        self.output_layer = nn.Linear(config.hidden_size, config.padded_vocab_size, bias=False)


class ChatGLMForCausalLM(PreTrainedModel, GenerationMixin):
    """The language model, to be trained and to generate, by transformers' own means."""

    config: ChatGLMConfig
    config_class = ChatGLMConfig
    base_model_prefix = "transformer_model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Layer"]  # noqa: RUF012  (transformers' way)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _keys_to_ignore_on_load_unexpected = [r"rotary_pos_emb\.inv_freq"]  # noqa: RUF012

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__(config)
        self.transformer = Transformer(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The word embeddings."""
        return self.transformer.embedding.word_embeddings

    def get_output_embeddings(self) -> nn.Linear:
        """The layer that gives the logits."""
        return self.transformer.output_layer

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        loss_weights: Tensor | None = None,
        num_items_in_batch: Tensor | float | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool = False,  # noqa: FBT001, FBT002  (transformers' way)
        logits_to_keep: int = 0,
        **flash: Any,  # noqa: ANN401  (what attention is told beside the mask)
    ) -> CausalLMOutputWithPast:
        """Logits, or with `labels` the loss alone, whose logits never exist all at once.

        Args:
            input_ids: [batch, length].
            attention_mask: [batch, length with the cache's], 0 where padded. None for packed
                sequences.
            position_ids: [batch, length]; several sequences in a row restart at 0, and none
                attends to another.
            inputs_embeds: [batch, length, hidden], instead of `input_ids`.
            labels: [batch, length], the token of each position, `IGNORED` where it counts nowhere.
                The token after a position is what it is to predict.
            loss_weights: [batch, length], how much each label counts; 1 if None.
            num_items_in_batch: What the weighted sum of losses is divided by; the sum of weights
                if None.
            past_key_values: Keys and values of the positions before these; these are added to it.
            use_cache: Whether to begin such a cache where none is given.
            logits_to_keep: At how many last positions logits are wanted; 0 for all.
            **flash: What flash attention needs to know of packed sequences.
        """
        model = self.transformer
        hidden = (
            model.embedding.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        )
        cache = DynamicCache() if use_cache and past_key_values is None else past_key_values
        if position_ids is None:
            seen = cache.get_seq_length() if cache is not None else 0
            position_ids = torch.arange(seen, seen + hidden.shape[1], device=hidden.device)[None]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden,
            attention_mask=attention_mask,
            past_key_values=cache,
            position_ids=position_ids,
        )
        turn = rotary(self.config, position_ids)
        for layer in model.encoder.layers:
            hidden = layer(hidden, mask, turn, cache, **flash)
        hidden = model.encoder.final_layernorm(hidden)
        if labels is None:
            logits = model.output_layer(hidden[:, -logits_to_keep:])
            return CausalLMOutputWithPast(logits=logits, past_key_values=cache)
        weights = (
            torch.ones_like(labels, dtype=torch.float32) if loss_weights is None else loss_weights
        )
        weights = weights * (labels != IGNORED)
        total = self._loss(hidden[:, :-1], labels[:, 1:], weights[:, 1:])
        count = weights[:, 1:].sum() if num_items_in_batch is None else num_items_in_batch
        return CausalLMOutputWithPast(loss=total / count)

    def _loss(self, hidden: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """The weighted sum of negative log-likelihoods, a chunk of positions at a time."""
        kept = weights.flatten() != 0
        hidden, labels = hidden.flatten(0, 1)[kept], labels.flatten()[kept]
        total = hidden.new_zeros((), dtype=torch.float32)
        for part in zip(
            hidden.split(LOSS_CHUNK),
            labels.split(LOSS_CHUNK),
            weights.flatten()[kept].split(LOSS_CHUNK),
            strict=True,
        ):
            # The logits of a chunk are made anew on the way back, rather than kept.
            total = total + checkpoint(self._chunk_loss, *part, use_reentrant=False)
        return total

    def _chunk_loss(self, hidden: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        logits = self.transformer.output_layer(hidden).float()
        return (cross_entropy(logits, labels, reduction="none") * weights).sum()


def is_random(path: str | Path) -> bool:
    """Whether a checkpoint says of itself that its weights are random."""
    return bool(getattr(ChatGLMConfig.from_pretrained(path), RANDOM, False))


def load_base(path: str | Path, dtype: torch.dtype | str = torch.bfloat16) -> ChatGLMForCausalLM:
    """Loads a checkpoint of the published layout: a folder, or a name on the Hub.

    Args:
        path: The checkpoint.
        dtype: Of the weights.

    Raises:
        InvalidInput: There is no such checkpoint, or it is another model's.
    """
    disable_progress_bar()
    try:
        config = ChatGLMConfig.from_pretrained(path)
        loaded: Any = ChatGLMForCausalLM.from_pretrained(
            path, config=config, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InvalidInput(
            f"{path} holds no GLM-4-Voice model that can be loaded: {' '.join(str(error).split())}"
        ) from error
    model, found = loaded
    wrong = [*found["missing_keys"], *found["mismatched_keys"], *found["unexpected_keys"]]
    if config.model_type != "chatglm" or wrong:
        raise InvalidInput(
            f"{path} is not a GLM-4-Voice model: {len(wrong)} of its weights are missing, of "
            f"another shape or unknown, {wrong[:1]} for one."
        )
    return model
