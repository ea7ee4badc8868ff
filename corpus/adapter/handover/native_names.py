"""An adapter for serving engines: from the published fused names to transformers' native ones.

A low-rank update of fused weights is, for each part, one of the same rank: the parts share the half
that reads, lora_A, and have their own rows of the half that writes, lora_B. So nothing is lost on
this way; the other way would need the sum of the ranks. Gate and value of the feed-forward layer
are fused natively too, in the same order, and rotation takes the same channels in the same pairs.
"""

from copy import copy
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from corpus.adapter.chatglm.config import ChatGLMConfig
from corpus.adapter.handover.adapter_folder import CONFIG, WEIGHTS, Adapter, Update, read_adapter
from corpus.errors import InvalidInput
from corpus.store.files import write_whole

FUSED = "query_key_value"
PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
NATIVE = {
    "dense": "self_attn.o_proj",
    "dense_h_to_4h": "mlp.gate_up_proj",
    "dense_4h_to_h": "mlp.down_proj",
}


def to_native(adapter_dir: Path, output_dir: Path, base_config: ChatGLMConfig) -> None:
    """Writes an adapter for transformers' GlmForCausalLM that does what the given one does.

    Args:
        adapter_dir: An adapter over the published names.
        output_dir: Where the other goes, configuration and weights.
        base_config: Of the base model, for the sizes of queries, keys and values.

    Raises:
        InvalidInput: The adapter is not whole, or is for another kind of model.
    """
    if output_dir.resolve() == adapter_dir.resolve():
        raise InvalidInput(f"{output_dir} holds the adapter to convert. Give another folder.")
    adapter = read_adapter(adapter_dir)
    _require_convertible(adapter, adapter_dir)
    sizes = _sizes(base_config)
    weights: dict[str, Tensor] = {}
    for (layer, target), update in adapter.updates.items():
        if target == FUSED and len(update.b) != sum(sizes):
            raise InvalidInput(
                f"{adapter_dir} is for another base: its {FUSED} has {len(update.b)} rows, the "
                f"base's {sum(sizes)}."
            )
        for place, part in _parts(target, update, sizes):
            name = f"base_model.model.model.layers.{layer}.{place}.lora"
            # A copy each: safetensors refuses tensors that share memory.
            weights[f"{name}_A.weight"] = part.a.clone()
            weights[f"{name}_B.weight"] = part.b.clone()
    config = copy(adapter.config)
    config.target_modules = sorted(
        place.rpartition(".")[2] for target in _targets(adapter) for place in _places(target)
    )
    write_whole(output_dir / WEIGHTS, save(weights, metadata={"format": "pt"}))
    config.save_pretrained(str(output_dir))


def read_base_config(base: str | Path) -> ChatGLMConfig:
    """The configuration of a base model: a folder, or a name on the Hub.

    Raises:
        InvalidInput: There is none, or it is another model's.
    """
    try:
        # from_pretrained would take a folder without one for a model of the default sizes.
        found, _ = ChatGLMConfig.get_config_dict(base)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{base} holds no configuration of a model: {' '.join(str(error).split())}"
        ) from error
    kind = found.get("model_type")
    if kind != ChatGLMConfig.model_type:
        raise InvalidInput(
            f"{base} is not a GLM-4-Voice model: its configuration names {kind or 'no model'}."
        )
    return ChatGLMConfig.from_dict(found)


def _require_convertible(adapter: Adapter, adapter_dir: Path) -> None:
    unknown = sorted({*_targets(adapter)} - {FUSED, *NATIVE})
    if unknown:
        raise InvalidInput(
            f"{adapter_dir} adapts {', '.join(unknown)}; only an adapter over "
            f"{', '.join((FUSED, *NATIVE))} can be converted."
        )
    if adapter.config.alpha_pattern:
        raise InvalidInput(
            f"{adapter_dir / CONFIG} has an alpha_pattern, which goes by names that change; such "
            "an adapter cannot be converted."
        )


def _sizes(config: ChatGLMConfig) -> list[int]:
    groups = config.multi_query_group_num * config.kv_channels
    return [config.num_attention_heads * config.kv_channels, groups, groups]


def _targets(adapter: Adapter) -> list[str]:
    return sorted({target for _, target in adapter.updates})


def _places(target: str) -> tuple[str, ...]:
    return PARTS if target == FUSED else (NATIVE[target],)


def _parts(target: str, update: Update, sizes: list[int]) -> list[tuple[str, Update]]:
    rows = torch.split(update.b, sizes if target == FUSED else [len(update.b)])
    return [(place, Update(update.a, b)) for place, b in zip(_places(target), rows, strict=True)]
