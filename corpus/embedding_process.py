"""An embedder in a process of its own, for the text stage.

MiniLM keeps every core busy for as long as queries arrive, and torch takes seconds to import. In
the process that holds thousands of requests in flight either would keep the event loop waiting
and leave the server idle (benchmarks/text_run.py, `steady`).
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from corpus.embeddings import Embedder
from corpus.errors import SympatheiaError
from corpus.processes import worker_processes
from corpus.store import Records

NICENESS = 10
"""What a request needs is short and goes first; embedding takes the rest of the cores."""

_embedder: Embedder | None = None


class EmbeddingProcess:
    """`Embedder`, with the same vectors, in a process that starts when it is first needed.

    A context manager; threads may share it.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self._pool = worker_processes(1, _begin, model)

    def __enter__(self) -> "EmbeddingProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def load(self) -> None:
        """Loads the model.

        Raises:
            InvalidInput: it cannot be loaded.
            SympatheiaError: the process died.
        """
        self.encode([])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts; see `Embedder.encode`.

        Raises:
            InvalidInput: the model cannot be loaded.
            SympatheiaError: the process died, for want of memory perhaps.
        """
        try:
            return self._pool.submit(_encode, list(texts)).result()
        except BrokenProcessPool:
            raise SympatheiaError(
                f"The process that embeds texts with {self.model} died, perhaps for want of "
                "memory. Free some and run the same command again; nothing done is lost."
            ) from None

    def stored(self, records: Records, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of texts, float32 [n, d], each computed once in a store's life.

        Raises:
            InvalidInput, SympatheiaError: as `encode`.
            OSError: the disk is full or fails.
        """
        digests = [sha256(f"{self.model}\0{text}".encode()).hexdigest() for text in texts]
        missing = {d: t for d, t in zip(digests, texts, strict=True) if d not in records}
        if missing:
            vectors = self.encode(list(missing.values()))
            for digest, vector in zip(missing, vectors, strict=True):
                records.put(digest, {"float32": b64encode(vector.tobytes()).decode()})
        found = [records.get(digest) for digest in digests]
        raw = b"".join(b64decode(record["float32"]) for record in found if record)
        return np.frombuffer(raw, dtype=np.float32).reshape(len(texts), -1)


def _begin(model: str) -> None:
    global _embedder
    os.nice(NICENESS)
    _embedder = Embedder(model)


def _encode(texts: list[str]) -> NDArray[np.float32]:
    assert _embedder is not None, "not in an embedding process"
    return _embedder.encode(texts)
