"""Can the anchor be told from a response? From its sound, and from its words.

A linear classifier (logistic regression) is trained on the responses to some queries and asked
about those to the others, so it never knows the query. Beside it stand chance and the same with the
anchors shuffled: what a classifier finds where there is nothing to be found.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from corpus.evaluation.measures.measure import Figures, Measure
from corpus.evaluation.statistics import mean
from corpus.evaluation.workbench import Workbench
from corpus.sound.prosody import FEATURES

FOLDS = 5
SHUFFLES, FEW = 5, 1_000
"""Times that the anchors are shuffled, where there are so few rows: one may be a lucky one."""
MOST_STEPS = 1_000
"""Of the classifier's training; on standardised features it needs some hundred."""


def recoverability(rows: pd.DataFrame, bench: Workbench) -> Figures | None:
    """By "sound" and "text": accuracy, chance, accuracy with shuffled anchors, confusions."""
    heard = rows.dropna(subset=list(FEATURES))
    said = rows[rows["text"].str.strip().astype(bool) & rows["text"].notna()]
    sound = heard[list(FEATURES)].to_numpy(dtype=float)
    found = {
        "sound": _told(sound, heard, bench.seed),
        "text": _told(embeddings(said, bench), said, bench.seed),
    }
    return found if any(found.values()) else None


def embeddings(rows: pd.DataFrame, bench: Workbench) -> NDArray[np.float32]:
    """The embeddings [rows, dimension] of the rows' texts, each computed once in a store's life."""
    texts = list(rows["text"])
    if not texts:
        return np.zeros((0, 1), dtype=np.float32)
    return bench.embedder.stored(bench.store.embeddings, texts)


def _told(features: NDArray[Any], rows: pd.DataFrame, seed: int) -> Figures | None:
    anchors, queries = rows["emotion"].to_numpy(), rows["query_id"].to_numpy()
    counts = rows["emotion"].value_counts()
    folds = min(FOLDS, rows["query_id"].nunique(), int(counts.min()) if len(counts) else 0)
    if len(counts) < 2 or folds < 2:
        return None
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    split = list(parts.split(features, anchors, queries))
    if not _trainable(anchors, split):
        return None
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_STEPS))

    def guessed(labels: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = cross_val_predict(classifier, features, labels, cv=split)
        return found

    guesses = guessed(anchors)
    draw = np.random.default_rng(seed)
    hits = np.zeros(len(rows))
    times = SHUFFLES if len(rows) < FEW else 1
    for _ in range(times):
        shuffled = draw.permutation(anchors)
        while not _trainable(shuffled, split):
            shuffled = draw.permutation(anchors)
        hits += (guessed(shuffled) == shuffled) / times
    names = sorted(counts.index)
    confusion = pd.crosstab(anchors, guesses).reindex(index=names, columns=names, fill_value=0)
    right = pd.Series(guesses == anchors, rows.index, dtype=float)
    return {
        "accuracy": mean(right, rows["query_id"], seed),
        "chance": round(float(counts.max() / len(rows)), 4),
        "shuffled": mean(pd.Series(hits, rows.index), rows["query_id"], seed),
        "anchors": names,
        "confusion": confusion.to_numpy().tolist(),
    }


def _trainable(labels: NDArray[Any], split: list[Any]) -> bool:
    """Whether there are two anchors or more to be told apart in every part trained on."""
    return all(len(np.unique(labels[train])) > 1 for train, _ in split)


MEASURE = Measure(
    "recoverability",
    "Accuracy of a linear classifier that tells the anchor from a clip's prosody, and from the "
    "embedding of its words, with folds by query; chance is the share of the commonest anchor.",
    frozenset({"prosody"}),
    recoverability,
)
