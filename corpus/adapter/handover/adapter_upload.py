"""Publishing an adapter: what of its folder is sent, and what is seen to before."""

from pathlib import Path

import torch
import yaml
from huggingface_hub import ModelCard

from corpus.adapter.handover.adapter_card import FACTS
from corpus.adapter.handover.adapter_folder import CONFIG, WEIGHTS, one_line, read_adapter
from corpus.errors import InvalidInput, SympatheiaError
from corpus.hub.hub_upload import CARD, Publication

FILES = (CONFIG, WEIGHTS, CARD, FACTS)
"""All that is sent; checkpoints and logs may lie beside them."""


def publication_of(
    folder: Path, repo_id: str, *, private: bool = False, tag: str | None = None
) -> Publication:
    """An adapter folder, and the model repository that is to hold it.

    Raises:
        InvalidInput: the name of the repository or of the tag is malformed, or the folder has no
            card.
    """
    return Publication(
        folder,
        repo_id,
        repo_type="model",
        private=private,
        message="Publish the adapter",
        only=FILES,
        owned=FILES,
        tag=tag,
    )


def require_whole(folder: Path) -> None:
    """Passes if an adapter can be published: files, names, shapes, values and card are in order.

    Raises:
        InvalidInput: it is not a LoRA adapter, or not a whole one.
        SympatheiaError: it was never trained, or broke in training, or its card is not in order.
    """
    adapter = read_adapter(folder)
    for (layer, target), update in adapter.updates.items():
        if not (torch.isfinite(update.a).all() and torch.isfinite(update.b).all()):
            raise SympatheiaError(
                f"{folder / WEIGHTS} has values that are not finite, in {target} of layer {layer}, "
                "so nothing was sent. Train again, with a lower adapter.learning_rate perhaps."
            )
    if not any(update.b.any() for update in adapter.updates.values()):
        raise SympatheiaError(
            f"{folder / WEIGHTS} changes nothing: every lora_B is zero, as before training. "
            "Nothing was sent. Train the adapter first."
        )
    _require_card(folder / CARD)


def _require_card(path: Path) -> None:
    try:
        data = ModelCard(path.read_text(encoding="utf-8")).data
    except FileNotFoundError:
        raise InvalidInput(f"{path.parent} has no card: {path.name} is missing.") from None
    except (ValueError, TypeError, yaml.YAMLError) as error:
        wrong = one_line(error)
    else:
        lacking = [key for key in ("license", "library_name") if not data.get(key)]
        if not lacking:
            return
        wrong = f"it does not say {' and '.join(lacking)}"
    raise SympatheiaError(
        f"The metadata of {path} is not in order: {wrong}. Mend that; nothing was sent."
    )
