"""Which pairs of a run are most worth a look: those that were accepted by a hair.

How near each came to being refused is read from what the stages have left on file: the nearest
query, the nearest response to the same query, a judge's grades of the words, and what was measured
of both clips against the limits of the rules, who is heard in them among it. Nothing is computed
anew but the share of the way to each limit. What a judge says of a clip is left out: it is found by
the whole request, with what is asked and the clip's file in it.
"""

from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from corpus.plan.blueprint import Blueprint
from corpus.review.pairs import Pair
from corpus.review.verdicts import Role
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import read_rows
from corpus.sound.clip_audio import ClipMeasures
from corpus.sound.clip_rejection_rules import HeardClip, clip_rules
from corpus.sound.speaker_likeness import OTHER_SPEAKER, Embedding
from corpus.speech.builtin_voice import tts_model
from corpus.speech.clip_requests import ClipSlot, clip_request
from corpus.speech.speaker_references import reference_slots, resemblance
from corpus.store.digest_store import Store
from schemas.recipe import Judge

BEST_GRADE = 5
GRADES = ("empathy", "answer", "speakability")
"""The columns of a judge's grades."""
CLIPS: tuple[Role, ...] = ("query_clip", "response_clip")


def suspicion(folder: RunFolder, pairs: list[Pair]) -> dict[str, float]:
    """How near each pair came to being refused, by id: from 0 to 1, by its nearest limit.

    Raises:
        SympatheiaError: a table is damaged.
    """
    blueprint = folder.blueprint()
    recipe = blueprint.recipe
    queries = {row["query_id"]: row for row in read_rows(folder.queries)}
    responses = {row["id"]: row for row in read_rows(folder.responses)}
    twins = _nearest_responses(folder)
    clips = _clips(folder, pairs, blueprint)
    found = {}
    for pair in pairs:
        likeness = queries[pair.query_id]["similarity"] or 0.0
        likeness = max(likeness, twins.get((pair.query_id, pair.emotion), 0.0))
        found[pair.id] = max(
            min(1.0, likeness / recipe.dedup.threshold),
            _of_grades(responses[pair.id], recipe.llm.judge),
            *(clips.get(digest, 0.0) for digest in pair.digests.values()),
        )
    return found


def _nearest_responses(folder: RunFolder) -> dict[tuple[str, str], float]:
    """By query and anchor of a response, how alike the likest other one is."""
    nearest: defaultdict[tuple[str, str], float] = defaultdict(float)
    if folder.similarities.is_file():
        for row in read_rows(folder.similarities):
            for anchor in (row["first"], row["second"]):
                place = row["query_id"], anchor
                nearest[place] = max(nearest[place], row["similarity"])
    return nearest


def _of_grades(row: Mapping[str, int | None], judge: Judge) -> float:
    """From 0 for the best grades to 1 where the lowest is at the threshold."""
    grades = [grade for name in GRADES if (grade := row[name]) is not None]
    room = BEST_GRADE - judge.threshold
    return (BEST_GRADE - min(grades)) / room if grades and room else 0.0


def _clips(folder: RunFolder, pairs: list[Pair], blueprint: Blueprint) -> dict[str, float]:
    """By digest of a clip, how near it came to the nearest limit of a rule."""
    words = dict(_words(pairs))
    errors = {row["digest"]: row["word_error_rate"] for row in read_rows(folder.sound)}
    rules = clip_rules(blueprint.recipe.speech.rules)
    limits = list(rules.limits())
    found = {}
    with Store(folder.store) as store:
        others = _other_speakers(blueprint, pairs, store) if rules.asks(OTHER_SPEAKER) else {}
        for digest, count in words.items():
            if (record := store.clip_measures.get(digest)) is not None:
                measures = ClipMeasures.of(record)
                heard = HeardClip(measures, count, errors.get(digest), others.get(digest))
                found[digest] = max(rule.nearness(heard, limit) for rule, limit in limits)
    return found


def _words(pairs: list[Pair]) -> Iterator[tuple[str, int]]:
    for pair in pairs:
        yield pair.digests["query_clip"], len(pair.query.split())
        yield pair.digests["response_clip"], len(pair.response.split())


def _other_speakers(blueprint: Blueprint, pairs: list[Pair], store: Store) -> dict[str, float]:
    """By digest of a clip of the cast, how much more it resembles another speaker than its own.

    As the speech stage compared it: nothing is heard anew, and nothing said where it heard nothing.
    """
    plan, known = blueprint.plan, _references(blueprint, store)
    if len(known) < 2:
        return {}
    slots = {slot.id: slot for slot in plan.pairs()}
    found = {}
    for pair in pairs:
        slot = slots[pair.id]
        speakers = (plan.query_speaker(slot.query), plan.response_speaker(slot))
        for role, speaker in zip(CLIPS, speakers, strict=True):
            digest = pair.digests[role]
            if speaker and (heard := _embedding(store, digest)) is not None:
                found[digest] = resemblance(known, speaker.name, heard)
    return found


def _references(blueprint: Blueprint, store: Store) -> dict[str, Embedding]:
    """The embeddings of every speaker's references, by name; empty if one is not on file."""
    cast, file = blueprint.plan.cast, blueprint.prompts.speaker_file
    if cast is None or file is None:
        return {}
    found = {}
    slots = reference_slots(blueprint.recipe.speech, cast.speakers, file.references)
    for name, each in slots.items():
        heard = [one for slot in each if (one := _reference(blueprint, store, slot)) is not None]
        if len(heard) < len(each):
            return {}
        found[name] = np.stack(heard)
    return found


def _reference(blueprint: Blueprint, store: Store, slot: ClipSlot) -> Embedding | None:
    """The embedding of a speaker's reference: of its attempts the one that was kept was heard."""
    speech = blueprint.recipe.speech
    for attempt in range(speech.max_attempts):
        request = clip_request(
            blueprint, tts_model(speech), slot, attempt, takes_points=speech.backend == "builtin"
        )
        if (heard := _embedding(store, request.digest())) is not None:
            return heard
    return None


def _embedding(store: Store, digest: str) -> Embedding | None:
    record = store.speakers.get(digest)
    if record is None:
        return None
    return np.frombuffer(b64decode(record["float32"]), dtype=np.float32)
