"""A base and an adapter as one model, for engines that serve no adapters beside their base."""

import shutil
from pathlib import Path
from typing import Any

import torch

from corpus.adapter.handover.adapter_folder import adapted, find_adapter
from corpus.adapter.model import ChatGLMForCausalLM, load_base
from corpus.adapter.published_checkpoints import folder_of
from corpus.adapter.text_tokenizer import FILES
from corpus.errors import InvalidInput


def merge(adapter_dir: Path, output_dir: Path, base: str) -> None:
    """Writes a base model with an adapter's updates added to its weights, and the base's tokenizer.

    The sums are rounded to the base's type, so outputs differ from those of the two side by side
    by as much.

    Args:
        adapter_dir: A run folder, or an adapter.
        output_dir: Where the model goes, as large as the base: 19 GB at the published size.
        base: A folder, or a name on the Hub.

    Raises:
        InvalidInput: One of them is not there, they do not fit, or the output is one of them.
        OSError: The disk is full or fails.
    """
    adapter = find_adapter(adapter_dir)
    source = folder_of(
        base, [*FILES, "*.json", "*.safetensors"], "base model", "THUDM/glm-4-voice-9b"
    )
    if output_dir.resolve() in (adapter.resolve(), source.resolve()):
        raise InvalidInput(f"{output_dir} holds what is to be merged. Give another folder.")
    both: Any = adapted(load_base(source, dtype="auto"), adapter, base)
    with torch.no_grad():
        merged: ChatGLMForCausalLM = both.merge_and_unload()
    merged.save_pretrained(output_dir)
    for name in FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, output_dir / name)
