"""An embedder in a process of its own, or on a Dask cluster, for the text stage.

MiniLM keeps every core busy for as long as queries arrive, and torch takes seconds to import. In
the process that holds thousands of requests in flight either would keep the event loop waiting
and leave the server idle (benchmarks/text_run.py, `steady`).
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from corpus.compute.local_or_dask import Workers
from corpus.embedding.embedder import Embedder
from corpus.store.append_only_records import Records

NICENESS = 10
"""What a request needs is short and goes first; embedding takes the rest of the cores."""
TEXTS_PER_CALL = 64
"""Texts that a worker of a cluster embeds in a call: eight batches, some tenths of a second."""


class EmbeddingProcess:
    """`Embedder`, with the same vectors, in a process that starts when it is first needed.

    A context manager; threads may share it.

    Args:
        model: What the recipe's `dedup.model` names.
        dask: The address of a cluster's scheduler, if one is to embed. Its processors should be of
            one kind: another rounds differently (see `corpus.embedding.minilm`).
    """

    def __init__(self, model: str, dask: str = "") -> None:
        self.model = model
        self._workers = Workers("embeds texts", 1, dask, _begin)
        self._at_once = TEXTS_PER_CALL if dask else None

    def __enter__(self) -> "EmbeddingProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()

    def load(self) -> None:
        """Loads the model.

        Raises:
            InvalidInput: it cannot be loaded.
            SympatheiaError: the process died, or the cluster is gone.
        """
        self.encode([])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts; see `Embedder.encode`.

        Raises:
            InvalidInput: the model cannot be loaded.
            SympatheiaError: the process died, for want of memory perhaps, or the cluster is gone.
        """
        step = self._at_once or max(1, len(texts))
        calls = [
            self._workers.submit(_encode, self.model, list(texts[start : start + step]))
            for start in range(0, max(1, len(texts)), step)
        ]
        return np.concatenate([self._workers.wait_for(call) for call in calls])

    def stored(self, records: Records, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of texts, float32 [n, d], each computed once in a store's life.

        Raises:
            InvalidInput, SympatheiaError: as `encode`.
            OSError: the disk is full or fails.
        """
        digests = [sha256(f"{self.model}\0{text}".encode()).hexdigest() for text in texts]
        found = {digest: record for digest in digests if (record := records.get(digest))}
        missing = {d: t for d, t in zip(digests, texts, strict=True) if d not in found}
        if missing:
            vectors = self.encode(list(missing.values()))
            for digest, vector in zip(missing, vectors, strict=True):
                found[digest] = {"float32": b64encode(vector.tobytes()).decode()}
                records.put(digest, found[digest])
        raw = b"".join(b64decode(found[digest]["float32"]) for digest in digests)
        return np.frombuffer(raw, dtype=np.float32).reshape(len(texts), -1)


# What follows runs in the workers.


def _begin() -> None:
    os.nice(NICENESS)


@cache
def _embedder(model: str) -> Embedder:
    return Embedder(model)


def _encode(model: str, texts: list[str]) -> NDArray[np.float32]:
    return _embedder(model).encode(texts)
