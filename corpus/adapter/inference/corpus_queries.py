"""A few queries of a corpus that a trained model has not seen, to ask it."""

from dataclasses import dataclass
from typing import Any

from corpus.dataset.dataset_folder import DatasetFolder

NEUTRAL_QUERIES = 3
"""Beside one query of each emotion: enough to hear what a point does to a plain question."""


@dataclass(frozen=True)
class CorpusQuery:
    """A query.

    Attributes:
        id: as in the corpus.
        emotion: in which it is spoken; "neutral" of a plain one.
        text: its words.
        sound: a FLAC file.
    """

    id: str
    emotion: str
    text: str
    sound: bytes

    def described(self) -> dict[str, Any]:
        """All but the sound."""
        return {"id": self.id, "emotion": self.emotion, "text": self.text}


def queries_to_ask(dataset: DatasetFolder) -> list[CorpusQuery]:
    """Some plain queries, then one of each emotion, all of the split eval, as far as there are any.

    Raises:
        SympatheiaError: a file of the corpus is missing or damaged.
    """
    chosen: dict[str, str] = {}
    counts: dict[str, int] = {}
    for pair in dataset.slots.values():
        query, most = pair.query, NEUTRAL_QUERIES if pair.query.anchor is None else 1
        free = query.opens and query.id not in chosen and counts.get(query.cell, 0) < most
        if query.split == "eval" and free:
            counts[query.cell] = counts.get(query.cell, 0) + 1
            chosen[query.id] = pair.id
    found = [
        CorpusQuery(
            row["query_id"], row["query_emotion"], row["query_text"], row["query_audio"]["bytes"]
        )
        for row in dataset.pairs_with_audio(set(chosen.values()))
    ]
    place = {name: number for number, name in enumerate(chosen)}
    plain = {pair.query.id for pair in dataset.slots.values() if pair.query.anchor is None}
    return sorted(found, key=lambda query: (query.id not in plain, place[query.id]))
