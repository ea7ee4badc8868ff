"""Does it say different things? Words, openings and meanings that come again, and topics."""

import re
from itertools import chain

import numpy as np
import pandas as pd

from corpus.evaluation.measures.measure import Figures, Measure
from corpus.evaluation.measures.recoverability import embeddings
from corpus.evaluation.workbench import Workbench

LONGEST_RUN = 3
OPENING_WORDS = 3
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


def diversity(rows: pd.DataFrame, bench: Workbench) -> Figures | None:
    """Distinct n-grams (Li et al. 2016), self-similarity, openings, sameness, and topics.

    `self_similarity` is the mean cosine of two responses; `repeated_openings` the share of
    responses that begin with the same three words as another, `same_text` that of the commonest
    response.
    """
    said = rows[rows["text"].notna() & rows["text"].str.strip().astype(bool)]
    if said.empty:
        return None
    words = [_WORD.findall(text.lower()) for text in said["text"]]
    openings = pd.Series([" ".join(found[:OPENING_WORDS]) for found in words])
    commonest = openings.value_counts()
    topics = said["topic"].dropna()
    return {
        **{f"distinct_{n}": _distinct(words, n) for n in range(1, LONGEST_RUN + 1)},
        "self_similarity": _self_similarity(said, bench),
        "repeated_openings": _share(openings.duplicated(keep=False)),
        "commonest_opening": {
            "words": str(commonest.index[0]),
            "share": round(float(commonest.iloc[0] / len(said)), 4),
        },
        "same_text": round(float(said["text"].value_counts().iloc[0] / len(said)), 4),
        "mean_words": round(float(np.mean([len(found) for found in words])), 2),
        "topics": int(topics.nunique()) if len(topics) else None,
    }


def _distinct(words: list[list[str]], n: int) -> float | None:
    """The share of n-grams of all texts together that are different ones."""
    runs = list(
        chain.from_iterable(zip(*(text[i:] for i in range(n)), strict=False) for text in words)
    )
    return round(len(set(runs)) / len(runs), 4) if runs else None


def _self_similarity(rows: pd.DataFrame, bench: Workbench) -> float | None:
    vectors = embeddings(rows, bench).astype(np.float64)
    count = len(vectors)
    if count < 2:
        return None
    # The sum of all cosines is the square of the vectors' sum; each vector's with itself is 1.
    total = float(np.square(vectors.sum(axis=0)).sum() - np.square(vectors).sum())
    return round(total / (count * (count - 1)), 4)


def _share(found: pd.Series) -> float:
    return round(float(found.mean()), 4)


MEASURE = Measure(
    "diversity",
    "Share of different words and phrases (distinct-1 to -3), mean cosine of two responses, share "
    "of responses that open like another, share of the commonest response, topics.",
    frozenset(),
    diversity,
)
