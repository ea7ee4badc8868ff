"""Which pairs of a run are most worth a look: those that were accepted by a hair.

How near each came to being refused is read from what the stages have left on file: the nearest
query, the nearest response to the same query, a judge's grades, and what was measured of both clips
against the limits of the rules. Nothing is computed anew but the share of the way to each limit.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from corpus.review.pairs import Pair
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import read_rows
from corpus.sound.clip_audio import ClipMeasures
from corpus.sound.clip_rejection_rules import HeardClip, clip_rules
from corpus.store.digest_store import Store
from schemas.recipe import Judge, Recipe

BEST_GRADE = 5
GRADES = ("empathy", "answer", "speakability")
"""The columns of a judge's grades."""


def suspicion(folder: RunFolder, pairs: list[Pair]) -> dict[str, float]:
    """How near each pair came to being refused, by id: from 0 to 1, by its nearest limit.

    Raises:
        SympatheiaError: a table is damaged.
    """
    recipe = folder.read_recipe()
    queries = {row["query_id"]: row for row in read_rows(folder.queries)}
    responses = {row["id"]: row for row in read_rows(folder.responses)}
    twins = _nearest_responses(folder)
    clips = _clips(folder, pairs, recipe)
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


def _clips(folder: RunFolder, pairs: list[Pair], recipe: Recipe) -> dict[str, float]:
    """By digest of a clip, how near it came to the nearest limit of a rule."""
    words = dict(_words(pairs))
    errors = {row["digest"]: row["word_error_rate"] for row in read_rows(folder.sound)}
    limits = list(clip_rules(recipe.speech.rules).limits())
    found = {}
    with Store(folder.store) as store:
        for digest, count in words.items():
            if (record := store.clip_measures.get(digest)) is not None:
                heard = HeardClip(ClipMeasures.of(record), count, errors.get(digest))
                found[digest] = max(rule.nearness(heard, limit) for rule, limit in limits)
    return found


def _words(pairs: list[Pair]) -> Iterator[tuple[str, int]]:
    for pair in pairs:
        yield pair.digests["query_clip"], len(pair.query.split())
        yield pair.digests["response_clip"], len(pair.response.split())
