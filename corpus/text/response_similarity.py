"""Near-twin responses: how alike what is said to one neutral query is, from anchor to anchor.

The neutral subset exists so that one query is answered differently for each feeling. Two responses
that hardly differ defeat that, though each may be good by itself; so every two are compared, and
what is found is reported and left in place.
"""

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from itertools import combinations, groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.run.open_run import OpenRun
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import Row, read_rows, write_table
from schemas.tables import SIMILARITIES

_MADE_FROM = "made_from"
EMBED_AT_ONCE = 256
"""Responses: enough for full batches, few enough to stay small in memory."""


def compare_responses(run: OpenRun, embedder: EmbeddingProcess) -> None:
    """Puts on file how alike the responses to each neutral query are, for every two anchors.

    The measure is the cosine of their embeddings by the model that compares queries. Nothing is
    done where the table on file was made from the same responses.

    Raises:
        SympatheiaError: the embedding process died, or the table of responses is damaged.
        OSError: the disk is full or fails.
    """
    folder = run.folder
    made_from = f"{sha256(folder.responses.read_bytes()).hexdigest()} {embedder.model}"
    if _made_from(folder.similarities) == made_from:
        return
    schema = SIMILARITIES.with_metadata({_MADE_FROM: made_from})
    write_table(folder.similarities, schema, _similarities(run, embedder))


def _made_from(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        metadata = pq.read_schema(path).metadata or {}
    except pa.ArrowInvalid:  # damaged, so made anew
        return None
    return str(metadata.get(_MADE_FROM.encode(), b"").decode())


def near_twins(run: RunFolder, threshold: float) -> dict[str, Any] | None:
    """How many responses to one neutral query are closer than a threshold; None if none were made.

    Raises:
        SympatheiaError: the table is damaged.
    """
    if not run.similarities.is_file():
        return None
    compared = 0
    queries: set[str] = set()
    anchors: Counter[str] = Counter()
    for row in read_rows(run.similarities):
        compared += 1
        if row["similarity"] > threshold:
            queries.add(row["query_id"])
            anchors[f"{row['first']}, {row['second']}"] += 1
    if not compared:
        return None
    return {
        "threshold": threshold,
        "compared": compared,
        "near_twins": anchors.total(),
        "queries": len(queries),
        "anchors": dict(anchors.most_common()),
    }


def _similarities(run: OpenRun, embedder: EmbeddingProcess) -> Iterator[Row]:
    responses = _embedded(run, embedder)
    for query_id, group in groupby(responses, key=lambda response: response[0]):
        for (_, first, one), (_, second, other) in combinations(group, 2):
            cosine = float(np.dot(one.astype(np.float64), other.astype(np.float64)))
            yield {
                "query_id": query_id,
                "first": first,
                "second": second,
                "similarity": round(cosine, 6),
            }


def _embedded(
    run: OpenRun, embedder: EmbeddingProcess
) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Query, anchor and embedding [d] of every response to a neutral query, in slot order."""
    rows = read_rows(run.folder.responses)
    plan = run.blueprint.plan
    pairs = zip(plan.pairs(), rows, strict=True)
    contrasted = (row for pair, row in pairs if plan.rooms[pair.query.subset].contrasted)
    while block := list(islice(contrasted, EMBED_AT_ONCE)):
        vectors = embedder.stored(run.store.embeddings, [row["text"] for row in block])
        for row, vector in zip(block, vectors, strict=True):
            yield row["query_id"], row["emotion"], vector
