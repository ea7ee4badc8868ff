"""The report of a corpus: every figure, gathered from the run's files, as plain data.

`report.json` is this data; `report.html` (`corpus.report.page`) shows it. Both follow from the
files alone: nothing is asked of a server, and the same run gives the same report.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import orjson

from corpus.dataset.cast_facts import CastFacts
from corpus.dataset.dataset_folder import REMEDY, DatasetFolder
from corpus.errors import SympatheiaError
from corpus.report.page_parts import mp3
from corpus.review.summary import summarise
from corpus.run.progress_file import read_progress
from corpus.run.run_folder import TRAINED, RunFolder
from corpus.run.stage_tables import Row, read_rows
from corpus.servers.chat_requests import ChatAnswer
from corpus.sound.prosody import FEATURES, correlations
from corpus.sound.sound_files import Undecodable
from corpus.speech.clip_requests import QUERY, RESPONSE
from corpus.store.digest_store import Store
from corpus.text.annotation.annotation_stage import STAGE as ANNOTATIONS
from corpus.text.queries import NEAR_DUPLICATE
from corpus.text.response_similarity import near_twins
from schemas.slots import SPLITS, Place

BINS = 30
SIMILARITY_BINS = 40

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """One pair to listen to; the sounds are MP3, which every browser plays."""

    row: Row
    query: bytes
    response: bytes

    @classmethod
    def of(cls, row: Row) -> "Sample":
        """The sample of a row with audio.

        Raises:
            SympatheiaError: a clip cannot be decoded.
        """
        return cls(row, _mp3(row, QUERY), _mp3(row, RESPONSE))


def gather(dataset: DatasetFolder) -> Facts:
    """Every figure of the report.

    What only a run's own folder knows (refusals, similarities, sound, cost) is None where the
    dataset was opened without it.

    Raises:
        SympatheiaError: the rows are not those that were planned, or a file of the dataset or of
            the run is missing or damaged.
    """
    dataset.require_planned()
    run, counted = dataset.run, _counted(dataset)
    threshold = dataset.manifest.dedup.threshold
    facts = {
        "name": dataset.manifest.name,
        "seed": dataset.manifest.seed,
        "prompts_digest": dataset.manifest.prompts_digest,
        "llm_model": counted.llm_model,
        "tts_model": counted.tts_model,
        "pairs": {
            subset: {split: counted.pairs[subset, split] for split in SPLITS}
            for subset in dataset.blueprint.plan.subsets
        },
        "anchors": _anchors(dataset, counted),
        "queries": len(counted.queries),
        "hours": {
            role: round(sum(map(sum, by_subset.values())) / 3600, 3)
            for role, by_subset in counted.seconds.items()
        },
        "seconds": {role: histogram(values) for role, values in counted.seconds.items()},
        "words": {role: histogram(values) for role, values in counted.words.items()},
        "duplicates": None,
        "near_twins": None,
        "refusals": None,
        "sound": None,
        "cost": None,
        "review": None,
        "training": _training(run.adapter / TRAINED),
    }
    places = [pair.place for pair in dataset.slots.values() if pair.place]
    if places:
        facts["points"] = [[place.valence, place.arousal] for place in places]
    if run.queries.is_file():
        if not run.rejects.is_file():
            raise SympatheiaError(
                f"{run.rejects} is missing; building {run.root} again makes it anew from the store."
            )
        facts |= {
            "duplicates": _duplicates(run, threshold),
            "near_twins": _twins(run, threshold),
            "refusals": _refusals(dataset) | {"reported": _reported(run)},
            "sound": _sound(dataset),
            "cost": _cost(run, counted.pairs.total()),
        }
    if run.reviews.is_file():
        facts["review"] = summarise(run)
    if cast := counted.cast.heard():
        facts["cast"] = [heard.as_data() for heard in cast]
    return facts


@dataclass
class _Counted:
    """What is counted and measured of the pairs as they go by; lengths by role and subset."""

    llm_model: str
    tts_model: str
    cast: CastFacts
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    anchors: Counter[tuple[str, str]] = field(default_factory=Counter)
    queries: set[str] = field(default_factory=set)
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=lambda: _by_role())
    words: dict[str, dict[str, list[float]]] = field(default_factory=lambda: _by_role())

    def add(self, row: Row) -> None:
        """Counts a pair; a query that several share counts once."""
        self.cast.add(row)
        self.pairs[row["subset"], row["split"]] += 1
        self.anchors[row["response_emotion"], row["subset"]] += 1
        roles = (RESPONSE,) if row["query_id"] in self.queries else (QUERY, RESPONSE)
        self.queries.add(row["query_id"])
        for role in roles:
            self.seconds[role][row["subset"]].append(row[f"{role}_seconds"])
            self.words[role][row["subset"]].append(len(row[f"{role}_text"].split()))


def _by_role() -> dict[str, dict[str, list[float]]]:
    return {QUERY: defaultdict(list), RESPONSE: defaultdict(list)}


def _counted(dataset: DatasetFolder) -> _Counted:
    pairs = dataset.pairs()
    first = next(pairs)
    cast = CastFacts(dataset.blueprint.plan.cast)
    counted = _Counted(first["llm_model"], first["tts_model"], cast)
    for row in chain((first,), pairs):
        counted.add(row)
    return counted


def _anchors(dataset: DatasetFolder, counted: _Counted) -> list[Facts]:
    plan = dataset.blueprint.plan
    return [
        {
            "name": name,
            "valence": anchor.valence,
            "arousal": anchor.arousal,
            "query_style": anchor.query_style,
            "response_style": anchor.response_style,
            **{subset: counted.anchors[name, subset] for subset in plan.subsets},
        }
        for name, anchor in plan.anchors.items()
    ]


def histogram(
    series: Mapping[str, list[float]], bounds: tuple[float, float] | None = None, bins: int = BINS
) -> Facts:
    """Counts of several series over the same bins, with each one's median and 95th percentile.

    Args:
        series: values by name.
        bounds: of the bins; those of the values if None.
        bins: how many.
    """
    everything = [value for values in series.values() for value in values]
    if not everything:
        return {"edges": [], "counts": {}, "median": {}, "p95": {}}
    low, high = bounds or (min(everything), max(everything))
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    filled = {name: values for name, values in series.items() if len(values)}
    return {
        "edges": np.round(edges, 4).tolist(),
        "counts": {
            name: np.histogram(values, edges)[0].tolist() for name, values in filled.items()
        },
        "median": {name: round(float(np.median(v)), 3) for name, v in filled.items()},
        "p95": {name: round(float(np.percentile(v, 95)), 3) for name, v in filled.items()},
    }


def _duplicates(run: RunFolder, threshold: float) -> Facts:
    """How near each query came to one accepted before it."""
    accepted = [row["similarity"] for row in read_rows(run.queries)]
    rejects = read_rows(run.rejects)
    refused = [row["similarity"] for row in rejects if row["reason"] == NEAR_DUPLICATE]
    series = {
        "accepted": [value for value in accepted if value is not None],
        "refused": [value for value in refused if value is not None],
    }
    return {"threshold": threshold, **histogram(series, (0.0, 1.0), SIMILARITY_BINS)}


def _twins(run: RunFolder, threshold: float) -> Facts | None:
    found = near_twins(run, threshold)
    if found is None:
        return None
    values = [row["similarity"] for row in read_rows(run.similarities)]
    return {**found, **histogram({"responses": values}, (0.0, 1.0), SIMILARITY_BINS)}


def _refusals(dataset: DatasetFolder) -> Facts:
    """Refused candidates by stage, rule and cell, and the share that was kept."""
    cells: dict[str, dict[str, str]] = {
        "queries": {slot.id: slot.cell for slot in dataset.blueprint.plan.queries()},
        "responses": {pair.id: pair.cell for pair in dataset.blueprint.plan.pairs()},
    }
    cells[ANNOTATIONS] = cells["responses"]
    cells["speech"] = {
        f"{name}-{role}": cell
        for role, stage in ((QUERY, "queries"), (RESPONSE, "responses"))
        for name, cell in cells[stage].items()
    }
    rules: defaultdict[str, Counter[str]] = defaultdict(Counter)
    by_cell: defaultdict[str, defaultdict[str, Counter[str]]] = defaultdict(
        lambda: defaultdict(Counter)
    )
    for row in read_rows(dataset.run.rejects):
        cell = cells[row["stage"]].get(row["slot"], "no longer planned")
        rules[row["stage"]][row["reason"]] += 1
        by_cell[row["stage"]][cell][row["reason"]] += 1
    acceptance = {}
    annotated = [ANNOTATIONS] if dataset.manifest.empathy else []
    for stage in ("queries", "responses", *annotated):
        kept = Counter(cells[stage].values())
        acceptance[stage] = {
            cell: round(count / (count + by_cell[stage][cell].total()), 4)
            for cell, count in kept.items()
        }
    return {
        "rules": {stage: dict(found.most_common()) for stage, found in rules.items()},
        "cells": {
            stage: {cell: dict(found) for cell, found in cell_rules.items() if found}
            for stage, cell_rules in by_cell.items()
        },
        "acceptance": acceptance,
    }


def _reported(run: RunFolder) -> dict[str, dict[str, int]]:
    """By stage and rule, what was kept though it breaks a rule that only reports."""
    stages = read_progress(run.progress)["stages"]
    return {name: found for name, stage in stages.items() if (found := stage.get("reported"))}


def _sound(dataset: DatasetFolder) -> Facts | None:
    """The prosody of the clips against their anchors, and what listening found; None unmeasured."""
    if not dataset.run.sound.is_file():
        return None
    everything = list(read_rows(dataset.run.sound))
    clips: defaultdict[str, list[Row]] = defaultdict(list)
    for row in everything:
        if any(row[name] is not None for name in FEATURES):
            clips[row["role"]].append(row)
    # What lies between the anchors tells nothing of any one of them.
    plan = dataset.blueprint.plan
    emotion = {pair.id: pair.anchor for pair in plan.pairs() if _at_an_anchor(pair.place)}
    # A query is spoken in the emotion of its anchor; one that is neutral, neutrally.
    emotion |= {slot.id: slot.emotion for slot in plan.queries() if _at_an_anchor(slot.place)}
    return {
        "clips": {role: len(rows) for role, rows in clips.items()},
        "spearman": {
            role: correlations(rows, [(row["valence"], row["arousal"]) for row in rows])
            for role, rows in clips.items()
        },
        "by_anchor": {
            role: _quartiles((emotion[row["id"]], row) for row in rows if row["id"] in emotion)
            for role, rows in clips.items()
        },
        "word_error_rate": _summary([row["word_error_rate"] for row in everything]),
        "dnsmos": _summary([row["dnsmos"] for row in everything]),
    }


def _at_an_anchor(place: Place | None) -> bool:
    return place is None or len(place.blend) == 1


def _quartiles(clips: Iterable[tuple[str, Row]]) -> dict[str, dict[str, list[float]]]:
    values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for anchor, row in clips:
        for name in FEATURES:
            if row[name] is not None:
                values[anchor][name].append(row[name])
    return {
        anchor: {
            name: [round(float(q), 4) for q in np.percentile(found, (25, 50, 75))]
            for name, found in features.items()
        }
        for anchor, features in values.items()
    }


def _summary(measured: list[float | None]) -> Facts | None:
    values = [value for value in measured if value is not None]
    if not values:
        return None
    return {
        "clips": len(values),
        "mean": round(float(np.mean(values)), 4),
        "median": round(float(np.median(values)), 4),
        "p95": round(float(np.percentile(values, 95)), 4),
    }


def _cost(run: RunFolder, pairs: int) -> Facts:
    """What the corpus took: answers and tokens paid for, tokens of what was kept, GPU-hours."""
    asked = Counter[str]()
    tokens: dict[str, list[float]] = {QUERY: [], RESPONSE: []}
    # What other runs paid for and this one used was fetched into its folder: no URL is needed.
    with Store(run.store) as store:
        for record in store.completions.values():
            answer = ChatAnswer.from_dict(record)
            asked["answers"] += 1
            asked["prompt_tokens"] += answer.prompt_tokens
            asked["completion_tokens"] += answer.completion_tokens
        for role, table in ((QUERY, run.queries), (RESPONSE, run.responses)):
            for row in read_rows(table):
                kept = store.completions.get(row["digest"])
                if kept is not None:
                    tokens[role].append(ChatAnswer.from_dict(kept).completion_tokens)
    servers = read_progress(run.progress)["servers"]
    return {
        **asked,
        "answers_per_pair": round(asked["answers"] / pairs, 3),
        "tokens": {role: histogram({"kept": values}) for role, values in tokens.items()},
        "gpu_hours": {section: group["gpu_hours"] for section, group in servers.items()},
        "gpu_cost": {section: group.get("cost") for section, group in servers.items()},
    }


def _training(path: Path) -> Facts | None:
    """The losses of the adapter that was trained on the corpus; None if none was."""
    if not path.is_file():
        return None
    trained = orjson.loads(path.read_bytes())["trained"]
    return {
        "losses": trained["losses"],
        "best_step": trained["best_step"],
        **{
            name: [[entry["step"], entry[name]] for entry in trained["history"] if name in entry]
            for name in ("loss", "eval_loss")
        },
    }


def samples(dataset: DatasetFolder) -> Iterator[Sample]:
    """One pair of each anchor and subset, drawn by the corpus's seed, in the anchors' order."""
    ids: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row in dataset.pairs(columns=("id", "response_emotion", "subset")):
        ids[row["response_emotion"], row["subset"]].append(row["id"])
    chosen: dict[str, int] = {}
    for name in dataset.blueprint.plan.anchors:
        for subset in dataset.blueprint.plan.subsets:
            if ids[name, subset]:
                draw = Random(f"{dataset.manifest.seed} {subset} {name}")
                chosen[draw.choice(ids[name, subset])] = len(chosen)
    found = {row["id"]: row for row in dataset.pairs_with_audio(chosen)}
    for row_id in sorted(found, key=chosen.__getitem__):
        yield Sample.of(found[row_id])


def _mp3(row: Row, role: str) -> bytes:
    try:
        return mp3(row[f"{role}_audio"]["bytes"])
    except Undecodable as error:
        raise SympatheiaError(f"The {role} of {row['id']}: {error} {REMEDY}") from error
