"""GLM-4-Voice's language model with the published names of its weights.

The published checkpoint comes with code of its own, which transformers 5 cannot load; transformers'
GlmForCausalLM gives the same logits but splits the fused weights, and an adapter trained on the
parts does not fit the published ones. Here the fused names stay, so adapters go back and forth key
for key, and everything between the weights is transformers' own: attention, masks, saving, loading.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.utils.checkpoint import checkpoint
from transformers import GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.logging import disable_progress_bar

from corpus.adapter.chatglm.config import ARCHITECTURE, ChatGLMConfig
from corpus.adapter.chatglm.layers import Layer, RMSNorm, rotary
from corpus.errors import InvalidInput
from corpus.git_lfs import require_fetched

# peft asks by the older of two names; who trains can do nothing about it.
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)

IGNORED = -100
"""A label that counts nowhere, as transformers and PyTorch have it."""
LOSS_CHUNK = 1024
"""Positions whose logits exist at once while a loss is computed: 0.7 GB in float32 at the published
vocabulary of 168,960."""
RANDOM = "random_weights"
"""A key of `config.json` by which a checkpoint made for a demonstration says so."""


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

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | Path,
        *asked: Any,  # noqa: ANN401
        **named: Any,  # noqa: ANN401
    ) -> None:
        """Saves as transformers does, under the architecture's published name."""
        disable_progress_bar()
        super().save_pretrained(save_directory, *asked, **named)
        self.config.architectures = [ARCHITECTURE]
        self.config.save_pretrained(save_directory)

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
        use_cache: bool = False,
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
        mask = self._mask(hidden, attention_mask, cache, position_ids)
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

    def _mask(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None,
        cache: Cache | None,
        position_ids: Tensor,
    ) -> Any:  # noqa: ANN401  (a tensor, or what an implementation of attention takes instead)
        """What sees what; of packed sequences their lengths, where attention can use them."""
        if attention_mask is None and cache is None and self.config._attn_implementation == "sdpa":
            begun = pad(position_ids.flatten() == 0, (0, 1), value=True)
            begun[0] = True
            lengths: list[int] = begun.nonzero().flatten().diff().tolist()
            if len(lengths) > len(position_ids):
                return lengths
        mask: Any = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden,
            attention_mask=attention_mask,
            past_key_values=cache,
            position_ids=position_ids,
        )
        return mask

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
    require_fetched(path)
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
