"""Gates about the rows of a dataset folder: ids, splits, coordinates, texts and near-duplicates."""

from collections import Counter
from hashlib import sha256

import numpy as np

from corpus.checks.inspection import QUERIES, TEXTS, Inspection
from corpus.dataset.dataset_folder import DatasetFolder, Row, split_of
from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.plan.subsets.subset import Exchange
from corpus.text.near_duplicate_queries import Accepted, Vectors
from corpus.text.wording.cleaning import clean
from corpus.text.wording.text_rules import TextRules
from schemas.prompts import Speaker
from schemas.slots import SPLITS, SUBSETS, TEXT, PairSlot
from schemas.tables import ADDED, EMPATHY

TRAIN = SPLITS[0]
BLOCK = 1024
"""Queries that are embedded in one call, or compared with another split in one product."""


def check_rows(look: Inspection) -> None:
    """Exactly the planned ids, in their order and splits, with what the plan says of them."""
    dataset, gates = look.dataset, look.gates
    gates.open("id_missing", "id_unknown", "id_twice", "order", "split", "null")
    gates.open("subset", "query_id", "emotion", "coordinates", "topic", "style", "voice")
    added = set(dataset.blueprint.plan.columns)
    if added - set(EMPATHY):
        gates.open("added")
    if added & set(EMPATHY):
        gates.open("annotation")
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
            split = split_of(path)
            if last.get(split, -1) > place[slot.id]:
                gates.offend("order", f"{slot.id} comes too late in {part}, {split}")
            last[split] = place[slot.id]
            if not row["split"] == split == slot.query.split:
                gates.offend("split", f"{slot.id} is planned for {slot.query.split}")
            for name, offends in _offences(dataset, slot, row, part, topics).items():
                if offends:
                    gates.offend(name, slot.id)
    _check_counts(look, seen)


def _check_counts(look: Inspection, seen: Counter[str]) -> None:
    dataset, gates = look.dataset, look.gates
    for slot_id in dataset.slots:
        if not seen[slot_id]:
            gates.offend("id_missing", slot_id)
        elif seen[slot_id] > 1:
            gates.offend("id_twice", slot_id)
    planned = Counter((slot.query.subset, slot.anchor) for slot in dataset.slots.values())
    found = Counter(
        (dataset.slots[slot_id].query.subset, dataset.slots[slot_id].anchor)
        for slot_id in seen.keys() & dataset.slots.keys()
    )
    worst = max(planned, key=lambda cell: planned[cell] - found[cell])
    lack = planned[worst] - found[worst]
    gates.measure("pairs_lacking_in_a_cell", lack, f"{worst[0]}, {worst[1]}: {found[worst]}")


def _offences(
    dataset: DatasetFolder, slot: PairSlot, row: Row, part: str, topics: frozenset[str]
) -> dict[str, bool]:
    blueprint, voice = dataset.blueprint, dataset.manifest.voice
    room = blueprint.room(slot)
    target, added = room.target(slot), blueprint.added(slot)
    where = (target.valence, target.arousal)
    asked = blueprint.query_manner(slot.query)
    answered = {manner.style for manner in room.response_manners(slot)}
    emotions = (row["query_emotion"], row["response_emotion"])
    asked_of = _voices(blueprint.plan.query_speaker(slot.query), voice.query_voice)
    answered_by = _voices(blueprint.plan.response_speaker(slot), voice.response_voice)
    spoken = row["query_voice"] in asked_of and row["response_voice"] in answered_by
    return {
        "null": any(value is None for name, value in row.items() if name not in ADDED),
        "subset": not row["subset"] == part == slot.query.subset,
        "query_id": row["query_id"] != slot.query.id,
        "emotion": emotions != (slot.query.emotion, slot.anchor),
        "coordinates": (row["valence"], row["arousal"]) != where,
        "added": any(row[n] != added.get(n) for n in blueprint.plan.columns if n not in EMPATHY),
        "annotation": any(not (row[n] or "").strip() for n in EMPATHY if n in row),
        "topic": row["topic"] not in topics,
        "style": row["query_style"] != asked.style or row["response_style"] not in answered,
        "voice": not spoken,
    }


def _voices(speaker: Speaker | None, otherwise: str) -> tuple[str | None, ...]:
    """What a row may call the voice of a clip: which of both depends on what spoke."""
    return (speaker.name, speaker.served) if speaker else (otherwise,)


def check_light_config(look: Inspection) -> None:
    """The light config has the same rows."""
    dataset, gates = look.dataset, look.gates
    gates.open("text_config")
    pairs = {row["id"]: _digest(row) for _, row in dataset.first_rows()}
    seen = set()
    for _, row in dataset.rows(TEXT):
        seen.add(row["id"])
        if pairs.get(row["id"]) != _digest(row):
            gates.offend("text_config", f"{row['id']} differs from its pair")
    for slot_id in pairs:
        if slot_id not in seen:
            gates.offend("text_config", f"{slot_id} is missing")


def _digest(row: Row) -> bytes:
    """What two rows have in common only if they are alike, so that neither need be kept."""
    return sha256(repr(sorted(row.items())).encode()).digest()


def check_texts(look: Inspection) -> dict[str, str]:
    """Every text is one that its run would accept; gives the queries that open by id."""
    dataset, gates = look.dataset, look.gates
    gates.open("empty_text", "not_clean", "query_rule", "response_rule")
    gates.open("response_twice", "query_not_shared")
    rules = TextRules(dataset.blueprint)
    queries: dict[str, str] = {}
    responses: dict[bytes, str] = {}
    said: list[Exchange] = []
    for _, row in dataset.first_rows():
        slot_id, query, response = row["id"], row["query_text"], row["response_text"]
        slot = dataset.slots[slot_id]
        look.progress.filled(TEXTS, slot.query.subset)
        if not query or not response:
            gates.offend("empty_text", slot_id)
            continue
        if slot.query.opens and queries.setdefault(slot.query.id, query) != query:
            gates.offend("query_not_shared", slot_id)
        first = responses.setdefault(sha256(response.encode()).digest(), slot_id)
        if first != slot_id:
            gates.offend("response_twice", f"{slot_id} says what {first} says")
        for text in (query, response):
            if clean(text) != text:
                gates.offend("not_clean", f"{slot_id}: {text:.60}")
        said = [] if slot.query.opens else said
        reason = rules.query(slot.query, query, said).reason
        if reason:
            gates.offend("query_rule", f"{slot_id}: {reason}")
        reason = rules.response(slot, query, response, said).reason
        if reason:
            gates.offend("response_rule", f"{slot_id}: {reason}")
        if slot.query.turn:
            said.append(Exchange(query, response))
    return queries


def check_queries_apart(look: Inspection, queries: dict[str, str]) -> None:
    """No two queries that open are closer than the threshold, in all and across splits.

    They are embedded anew.

    Raises:
        InvalidInput: the model that compares queries cannot be loaded.
        SympatheiaError: the process that embeds died.
    """
    dedup = look.dataset.manifest.dedup
    split_of_query = {slot.query.id: slot.query.split for slot in look.dataset.slots.values()}
    splits: list[str] = [split_of_query[query_id] for query_id in queries]
    key = sha256(repr((dedup.model, list(queries.items()), splits)).encode()).hexdigest()
    found = look.memory.recall(f"apart {key}")
    if found is None:
        vectors = _embedded(look, list(queries.values()))
        found = {
            "query_similarity": _nearest(list(queries), vectors),
            "query_similarity_across_splits": _nearest_across(list(queries), vectors, splits),
        }
        look.memory.keep(f"apart {key}", found)
    else:
        for _ in queries:
            look.progress.filled(QUERIES, "all")
    for name, (similarity, pair) in found.items():
        look.gates.measure(name, similarity, pair, dedup.threshold)


def _embedded(look: Inspection, texts: list[str]) -> Vectors:
    """The embeddings of texts, float32 [n, d]."""
    blocks = []
    with EmbeddingProcess(look.dataset.manifest.dedup.model) as embedder:
        for start in range(0, max(1, len(texts)), BLOCK):
            blocks.append(embedder.encode(texts[start : start + BLOCK]))
            for _ in blocks[-1]:
                look.progress.filled(QUERIES, "all")
    return np.concatenate(blocks)


def _nearest(ids: list[str], vectors: Vectors) -> tuple[float, str]:
    """The cosine of the two nearest, and who they are."""
    # At a threshold of 1 nothing is refused, and each one's nearest before it is named.
    verdicts = Accepted(1.0).judge(ids, vectors)
    nearest = max(verdicts, key=lambda verdict: verdict.similarity or 0.0, default=None)
    if nearest is None:
        return 0.0, ""
    return nearest.similarity or 0.0, f"{nearest.id} and {nearest.nearest_id}"


def _nearest_across(ids: list[str], vectors: Vectors, splits: list[str]) -> tuple[float, str]:
    """The cosine of the two nearest of different splits, and who they are."""
    train = [n for n, split in enumerate(splits) if split == TRAIN]
    others = [n for n, split in enumerate(splits) if split != TRAIN]
    found, pair = 0.0, ""
    for start in range(0, len(others) if train else 0, BLOCK):
        block = others[start : start + BLOCK]
        scores = vectors[block] @ vectors[train].T
        row, column = np.unravel_index(scores.argmax(), scores.shape)
        if scores[row, column] > found:
            found = round(float(scores[row, column]), 6)
            pair = f"{ids[block[row]]} and {ids[train[column]]}"
    return found, pair
