"""Gates about the rows of a dataset folder: ids, splits, coordinates, texts and near-duplicates."""

from collections import Counter

import numpy as np

from corpus.checks.gates import Gates
from corpus.dataset.dataset_folder import DatasetFolder, Row
from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.text.cleaning import clean
from corpus.text.near_duplicate_queries import Accepted
from corpus.text.text_rules import TextRules
from schemas.slots import SPLITS, SUBSETS, TEXT, PairSlot

TRAIN = SPLITS[0]
BLOCK = 1024
"""Queries of one split that are compared with all of the other in one matrix product."""


def check_rows(dataset: DatasetFolder, gates: Gates) -> None:
    """Exactly the planned ids, in their order and splits, with what the plan says of them."""
    gates.open("id_missing", "id_unknown", "id_twice", "order", "split", "null")
    gates.open("subset", "query_id", "emotion", "coordinates", "topic", "style", "voice")
    seen: Counter[str] = Counter()
    place = {slot_id: n for n, slot_id in enumerate(dataset.slots)}
    topics = frozenset(dataset.blueprint.prompts.topics)
    for part in SUBSETS:
        last: dict[str, int] = {}
        for path, row in dataset.rows(part):
            slot = dataset.slots.get(row["id"])
            seen[row["id"]] += 1
            if slot is None:
                gates.offend("id_unknown", f"{row['id']} in {path.name}")
                continue
            split = path.name.partition("-")[0]
            if last.get(split, -1) > place[slot.id]:
                gates.offend("order", f"{slot.id} comes too late in {part}, {split}")
            last[split] = place[slot.id]
            if not row["split"] == split == slot.query.split:
                gates.offend("split", f"{slot.id} is planned for {slot.query.split}")
            for name, offends in _offences(dataset, slot, row, part, topics).items():
                if offends:
                    gates.offend(name, slot.id)
    _check_counts(dataset, gates, seen)


def _check_counts(dataset: DatasetFolder, gates: Gates, seen: Counter[str]) -> None:
    for slot_id in dataset.slots:
        if not seen[slot_id]:
            gates.offend("id_missing", slot_id)
        elif seen[slot_id] > 1:
            gates.offend("id_twice", slot_id)
    planned = Counter((slot.query.subset, slot.anchor) for slot in dataset.slots.values())
    found = Counter(
        (dataset.slots[slot_id].query.subset, dataset.slots[slot_id].anchor)
        for slot_id in dataset.pairs
    )
    worst = max(planned, key=lambda cell: planned[cell] - found[cell])
    lack = planned[worst] - found[worst]
    gates.measure("pairs_lacking_in_a_cell", lack, 0, f"{worst[0]}, {worst[1]}: {found[worst]}")


def _offences(
    dataset: DatasetFolder, slot: PairSlot, row: Row, part: str, topics: frozenset[str]
) -> dict[str, bool]:
    blueprint, voice = dataset.blueprint, dataset.manifest.voice
    anchor = blueprint.plan.anchors[slot.anchor]
    asked, answered = blueprint.query_manner(slot.query), blueprint.response_manner(slot)
    emotions = (row["query_emotion"], row["response_emotion"])
    voices = (row["query_voice"], row["response_voice"])
    return {
        "null": any(value is None for value in row.values()),
        "subset": not row["subset"] == part == slot.query.subset,
        "query_id": row["query_id"] != slot.query.id,
        "emotion": emotions != (slot.query.emotion, slot.anchor),
        "coordinates": (row["valence"], row["arousal"]) != (anchor.valence, anchor.arousal),
        "topic": row["topic"] not in topics,
        "style": (row["query_style"], row["response_style"]) != (asked.style, answered.style),
        "voice": voices != (voice.query_voice, voice.response_voice),
    }


def check_light_config(dataset: DatasetFolder, gates: Gates) -> None:
    """The light config has the same rows."""
    gates.open("text_config")
    seen = set()
    for _, row in dataset.rows(TEXT):
        seen.add(row["id"])
        if dataset.pairs.get(row["id"]) != row:
            gates.offend("text_config", f"{row['id']} differs from its pair")
    for slot_id in dataset.pairs:
        if slot_id not in seen:
            gates.offend("text_config", f"{slot_id} is missing")


def check_texts(dataset: DatasetFolder, gates: Gates) -> dict[str, str]:
    """Every text is one that its run would accept; gives the queries by id."""
    gates.open("empty_text", "not_clean", "query_rule", "response_rule")
    gates.open("response_twice", "query_not_shared")
    rules = TextRules(dataset.blueprint)
    queries: dict[str, str] = {}
    responses: dict[str, str] = {}
    for slot_id, row in dataset.pairs.items():
        slot, query, response = dataset.slots[slot_id], row["query_text"], row["response_text"]
        if not query or not response:
            gates.offend("empty_text", slot_id)
            continue
        if queries.setdefault(slot.query.id, query) != query:
            gates.offend("query_not_shared", slot_id)
        first = responses.setdefault(response, slot_id)
        if first != slot_id:
            gates.offend("response_twice", f"{slot_id} says what {first} says")
        for text in (query, response):
            if clean(text) != text:
                gates.offend("not_clean", f"{slot_id}: {text:.60}")
        reason = rules.query(slot.query, query).reason
        if reason:
            gates.offend("query_rule", f"{slot_id}: {reason}")
        reason = rules.response(slot, query, response).reason
        if reason:
            gates.offend("response_rule", f"{slot_id}: {reason}")
    return queries


def check_queries_apart(dataset: DatasetFolder, gates: Gates, queries: dict[str, str]) -> None:
    """No two queries are closer than the threshold, in all and across splits; embedded anew.

    Raises:
        InvalidInput: the model that compares queries cannot be loaded.
    """
    threshold = dataset.manifest.dedup.threshold
    ids = list(queries)
    with EmbeddingProcess(dataset.manifest.dedup.model) as embedder:
        vectors = embedder.encode(list(queries.values()))
    # At a threshold of 1 nothing is refused, and each one's nearest before it is named.
    verdicts = Accepted(1.0).judge(ids, vectors)
    nearest = max(verdicts, key=lambda verdict: verdict.similarity or 0.0, default=None)
    found = (nearest.similarity or 0.0) if nearest else 0.0
    pair = f"{nearest.id} and {nearest.nearest_id}" if nearest else ""
    gates.measure("query_similarity", found, threshold, pair)

    splits = {slot.query.id: slot.query.split for slot in dataset.slots.values()}
    train = [n for n, slot_id in enumerate(ids) if splits[slot_id] == TRAIN]
    others = [n for n, slot_id in enumerate(ids) if splits[slot_id] != TRAIN]
    found, pair = 0.0, ""
    for start in range(0, len(others) if train else 0, BLOCK):
        block = others[start : start + BLOCK]
        scores = vectors[block] @ vectors[train].T
        row, column = np.unravel_index(scores.argmax(), scores.shape)
        if scores[row, column] > found:
            found = round(float(scores[row, column]), 6)
            pair = f"{ids[block[row]]} and {ids[train[column]]}"
    gates.measure("query_similarity_across_splits", found, threshold, pair)
