import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from corpus.embeddings import BUILTIN, Embedder, _folder
from corpus.errors import InvalidInput
from tests import sentences


@pytest.fixture(scope="module")
def embedder():
    return Embedder(BUILTIN)


@pytest.fixture(scope="module")
def texts():
    some = [sentences.query(seed) for seed in range(150)]
    return some + [sentences.response(seed) for seed in range(50)] + ["Yes.", "a " * 500, ""]


def test_the_weights_are_the_genuine_ones():
    weights = (Path(_folder(BUILTIN)) / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest().startswith("53aa5117")


def test_a_text_has_the_same_bits_in_any_company(embedder, texts):
    whole = embedder.encode(texts)
    assert whole.dtype == np.float32
    assert whole.shape == (len(texts), 384)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1.0, atol=1e-6)
    choose = random.Random(0)
    for _ in range(3):
        order = choose.sample(range(len(texts)), len(texts))
        start = 0
        while start < len(order):
            part = order[start : start + choose.randint(1, 60)]
            start += len(part)
            found = embedder.encode([texts[index] for index in part])
            assert (found == whole[part]).all()


def test_another_process_computes_the_same_bits(embedder, texts):
    code = (
        "import hashlib, sys, json\n"
        "from corpus.embeddings import Embedder\n"
        "texts = json.load(sys.stdin)\n"
        f"vectors = Embedder({BUILTIN!r}).encode(texts)\n"
        "print(hashlib.sha256(vectors.tobytes()).hexdigest())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(texts[:40]),
        capture_output=True,
        text=True,
        check=True,
    )
    here = hashlib.sha256(embedder.encode(texts[:40]).tobytes()).hexdigest()
    assert ran.stdout.strip() == here


def test_it_agrees_with_the_librarys_own_way(embedder, texts):
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(_folder(BUILTIN), device="cpu")
    expected = library.encode(texts[:30], normalize_embeddings=True)
    assert np.abs((embedder.encode(texts[:30]) * expected).sum(axis=1) - 1).max() < 1e-6


def test_meaning_is_what_is_compared(embedder):
    one, near, far = embedder.encode(
        [
            "How do I get a wine stain out of my shirt?",
            "How can I get a red wine stain out of a shirt?",
            "Which bus goes to the museum on Sunday?",
        ]
    )
    assert one @ near > 0.85 > 0.3 > one @ far


def test_no_texts_are_no_vectors(embedder):
    assert embedder.encode([]).shape == (0, 384)


def test_a_model_that_cannot_be_had_is_named_with_the_remedy(tmp_path):
    with pytest.raises(InvalidInput, match=r"dedup.model: .*could not be loaded"):
        Embedder(str(tmp_path / "nothing")).encode(["Hello there."])
