import multiprocessing
import os
import signal

import numpy as np
import pytest

from corpus.embedding.embedder import Embedder
from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.embedding.minilm import BUILTIN
from corpus.errors import InvalidInput, SympatheiaError

TEXTS = ["How long does bread keep?", "Where is my passport?", "", "word " * 400]


def test_vectors_are_those_of_an_embedder_of_this_process():
    with EmbeddingProcess(BUILTIN) as process:
        process.load()
        made = process.encode(TEXTS)
    np.testing.assert_array_equal(made, Embedder(BUILTIN).encode(TEXTS))


def test_a_model_that_cannot_be_had_is_said_here(tmp_path):
    could_not = pytest.raises(InvalidInput, match=r"dedup\.model: .* could not be loaded")
    with EmbeddingProcess(str(tmp_path)) as process, could_not:
        process.load()


def test_a_process_that_dies_is_a_sentence_not_a_hang():
    before = set(multiprocessing.active_children())
    with EmbeddingProcess(BUILTIN) as process:
        process.load()
        (child,) = set(multiprocessing.active_children()) - before
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(SympatheiaError, match=r"process that embeds texts died.* run the"):
            process.encode(TEXTS)
