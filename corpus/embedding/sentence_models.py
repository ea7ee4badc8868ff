"""Models other than the builtin one, by sentence-transformers: a folder, or an id of the hub.

They are batched as `corpus.embedding.minilm` does, and for its reason: the bits of a vector follow
from the text alone.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corpus.embedding.minilm import BUILTIN, Batch, batched, filled_up, workers
from corpus.errors import InvalidInput
from corpus.git_lfs import require_fetched

if TYPE_CHECKING:  # torch and its company take seconds to import: only when something is embedded
    from sentence_transformers import SentenceTransformer

HUB_TIMEOUT_SECONDS = 10

_one_at_a_time = threading.RLock()
"""A tokenizer's settings and torch's number of threads belong to the process, not to a call."""


class SentenceModel:
    """A sentence-transformers model on the CPU, loaded when the first text is embedded.

    Args:
        model: An id of the hub, or a folder.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._loaded: SentenceTransformer | None = None

    def load(self) -> None:
        """Loads the model now, so that one that cannot be had is known before work begins.

        Raises:
            InvalidInput: If the model cannot be loaded.
        """
        with _one_at_a_time:
            if self._loaded is None:
                self._loaded = _load(self._model)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Embeds texts: [len(texts), dimension], of whatever length the model gives them.

        Raises:
            InvalidInput: If the model cannot be loaded.
        """
        self.load()
        model = self._loaded
        assert model is not None
        vectors = np.zeros((len(texts), _dimension(model)), dtype=np.float64)
        with _one_at_a_time:
            if _is_transformer(model):
                _encode_batched(model, texts, vectors)
            else:
                # Word averages, models with a prompt of their own and the like: a text at a time
                # is as pure, if slower.
                for row, text in enumerate(texts):
                    vectors[row] = model.encode([text], show_progress_bar=False)[0]
        return vectors


def _is_transformer(model: "SentenceTransformer") -> bool:
    """Whether the model eats what its tokenizer pads, and adds no prompt to a text."""
    return hasattr(model.tokenizer, "pad") and not (
        model.default_prompt_name and model.prompts[model.default_prompt_name]
    )


def _dimension(model: "SentenceTransformer") -> int:
    dimension = model.get_embedding_dimension()
    if dimension is None:
        dimension = len(model.encode(["a"], show_progress_bar=False)[0])
    return int(dimension)


def _encode_batched(
    model: "SentenceTransformer", texts: Sequence[str], vectors: NDArray[np.float64]
) -> None:
    """Writes the embeddings of texts into vectors [len(texts), dimension]."""
    import torch

    limit = model.max_seq_length
    tokens = [dict(model.tokenizer(text, truncation=True, max_length=limit)) for text in texts]
    batches = batched([len(features["input_ids"]) for features in tokens], limit)

    def embed(batch: Batch) -> None:
        length, members = batch
        filled = filled_up(members)
        padded: dict[str, Any] = dict(
            model.tokenizer.pad(
                [tokens[index] for index in filled],
                padding="max_length",
                max_length=length,
                return_tensors="pt",
            )
        )
        with torch.inference_mode():
            rows = model(padded)["sentence_embedding"].float().numpy()
        vectors[members] = rows[: len(members)]

    threads = torch.get_num_threads()
    one_thread = partial(torch.set_num_threads, 1)
    try:
        with ThreadPoolExecutor(workers(), initializer=one_thread) as pool:
            list(pool.map(embed, batches))
    finally:
        torch.set_num_threads(threads)


def _load(name: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    require_fetched(name)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        # Always the CPU: a GPU rounds differently, and whoever continues a run may have none.
        model = SentenceTransformer(name, device="cpu", local_files_only=_offline(name))
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidInput(
            f"dedup.model: {name!r} could not be loaded ({reason}). Name a folder or an id of the "
            f"hub that sentence-transformers can read; {BUILTIN!r} needs no network."
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    return model.eval()


def _offline(name: str) -> bool:
    """Whether to look for the model on this machine only.

    Asked of the hub first, and once: sentence-transformers asks for three files six times each and
    would take over a minute to find out that nobody answers.
    """
    if Path(name).is_dir():
        return True
    import httpx2
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, timeout=HUB_TIMEOUT_SECONDS)
    except (OSError, ValueError, httpx2.HTTPError):
        return True
    return False
