"""What the rest of a run will take: ranges, from what it has on file and else by rules of thumb.

What is left of a part of the plan is multiplied with what slots like its own took until now: those
of its cell if there are enough, else those of its kind and subset, else those of its kind. The
bounds are those of a bootstrap over these slots. What a run has on file is counted nowhere, so an
estimate of a run that is half done is one of its rest.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from corpus.estimate import rules_of_thumb as thumb
from corpus.estimate.ranges import NOTHING, Range
from corpus.estimate.remaining_work import CLIPS, TEXTS, Part, Tried, look
from corpus.estimate.resources import Resources, Sums
from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.store.opening import open_store

ENOUGH = 30
"""Full slots from which slots of a cell, or of a kind in a subset, speak for themselves: a share of
refusals of one tenth is known to a tenth of the requests then."""

CONFIDENCE = 0.95
RESAMPLES = 999
AT_ONCE = 50
"""Resamples held in memory together."""

FULL, REQUESTS, PROMPT_TOKENS, COMPLETION_TOKENS, SECONDS = range(5)
"""Columns of what was tried."""

Table = NDArray[np.float64]


@dataclass(slots=True)
class _Pool:
    """Slots that are alike in what they took: what is left of them, and those that were tried."""

    tried: Table
    left: int = 0
    undecided: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the rest of a run takes; None where it cannot be known.

    Attributes:
        figures: ranges by name: requests, prompt_tokens, completion_tokens, audio_seconds,
            gpu_hours, cost, disk_bytes, wall_seconds.
        notes: what the figures rest on, in sentences.
    """

    figures: dict[str, Range | None]
    notes: list[str] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        plain = {
            name: found and {"low": _rounded(found.low), "high": _rounded(found.high, up=True)}
            for name, found in self.figures.items()
        }
        return {**plain, "notes": self.notes}


def _rounded(number: float, *, up: bool = False) -> float:
    """A number to what it can be known: whole from ten on, else to a thousandth."""
    places = 1 if number >= 10 else 1000
    # What binary fractions leave over must not become a whole.
    exact = round(number * places, 6)
    found = (math.ceil(exact) if up else math.floor(exact)) / places
    return int(found) if found.is_integer() else found


def estimate(blueprint: Blueprint, folder: RunFolder) -> Estimate:
    """What a run in a folder takes until it is done, whether or not it has begun.

    Raises:
        SympatheiaError: something in the folder was changed on disk.
    """
    with open_store(folder.store) as store:
        parts = look(blueprint, folder, store)
        texts, clips = _sums(blueprint, parts, TEXTS), _sums(blueprint, parts, CLIPS)
        resources = Resources(blueprint, folder, store, parts, texts, clips)
        served = clips.requests if blueprint.recipe.speech.backend == "openai" else NOTHING
        figures = {
            "requests": texts.requests + served,
            "prompt_tokens": texts.prompt_tokens,
            "completion_tokens": texts.completion_tokens,
            "audio_seconds": clips.seconds,
            "gpu_hours": resources.gpu_hours(),
            "cost": resources.cost(),
            "disk_bytes": resources.disk_bytes(),
            "wall_seconds": resources.wall_seconds(),
        }
        return Estimate(figures, [*_basis(parts), *resources.notes(figures["requests"])])


def _sums(blueprint: Blueprint, parts: list[Part], kinds: tuple[str, ...]) -> Sums:
    """What parts of some kinds take, measured where there is something to go by."""
    pools: dict[Hashable, _Pool] = {}
    guessed: list[Part] = []
    for part in (one for one in parts if one.kind in kinds and one.left):
        key, tried = _alike(part, parts)
        if not key:
            guessed.append(part)
            continue
        pool = pools.setdefault(key, _Pool(_table(tried)))
        pool.left += part.left
        pool.undecided += part.undecided
    measured = list(pools.values())
    sums = Sums(
        _bootstrapped(measured, REQUESTS),
        _bootstrapped(measured, PROMPT_TOKENS),
        _bootstrapped(measured, COMPLETION_TOKENS),
        _bootstrapped(measured, SECONDS),
    )
    # A server that does not say how many tokens it read cannot be asked for them.
    counted = all(pool.tried[:, PROMPT_TOKENS].any() for pool in measured) or kinds == CLIPS
    sums = sums if counted else Sums(sums.requests, None, None, sums.seconds)
    return sum((_by_thumb(blueprint, part) for part in guessed), sums)


def _by_thumb(blueprint: Blueprint, part: Part) -> Sums:
    if part.kind in CLIPS:
        return Sums(thumb.requests(part), NOTHING, NOTHING, thumb.clip_seconds(part))
    prompt, completion = thumb.tokens(blueprint, part.kind)
    attempts = thumb.attempts(blueprint, part.kind)
    requests = thumb.requests(part, attempts)
    return Sums(
        thumb.requests(part, attempts * thumb.rounds(blueprint, part.kind)),
        requests.times(prompt.low, prompt.high),
        requests.times(completion.low, completion.high),
        NOTHING,
    )


def _alike(part: Part, parts: Iterable[Part]) -> tuple[Hashable, list[Tried]]:
    """The slots by which a part is estimated, and what they are; no name if there are too few."""
    kind = [one for one in parts if one.kind == part.kind]
    wider = {
        (part.kind, part.subset, part.cell): [part],
        (part.kind, part.subset): [one for one in kind if one.subset == part.subset],
    }
    for key, alike in wider.items():
        tried = [slot for one in alike for slot in one.tried]
        if sum(slot.full for slot in tried) >= ENOUGH:
            return key, tried
    tried = [slot for one in kind for slot in one.tried]
    # A bootstrap needs two; fewer full slots tell nothing anyway.
    return (part.kind if sum(slot.full for slot in tried) >= 2 else None), tried


def _table(tried: list[Tried]) -> Table:
    return np.array(
        [
            (t.full, t.requests, t.prompt_tokens, t.completion_tokens, t.requests * t.seconds)
            for t in tried
        ],
        dtype=np.float64,
    )


def _bootstrapped(pools: list[_Pool], column: int) -> Range:
    """What is left of some pools, in one column, as a bootstrap over their slots bounds it."""
    if not pools:
        return NOTHING

    def left(*drawn: NDArray[Any], axis: int = -1) -> NDArray[np.float64]:
        sums = np.float64(0)
        for pool, rows in zip(pools, drawn, strict=True):
            found = pool.tried[rows.astype(np.int64)].sum(axis=axis - 1)
            full, asked = np.maximum(found[..., FULL], 1), np.maximum(found[..., REQUESTS], 1)
            rest = pool.left / full - pool.undecided / asked
            sums = sums + np.maximum(0, rest * found[..., column])
        return np.asarray(sums)

    bounds = stats.bootstrap(
        tuple(np.arange(len(pool.tried)) for pool in pools),
        left,
        n_resamples=RESAMPLES,
        batch=AT_ONCE,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),  # the same folder gives the same estimate
    ).confidence_interval
    return Range(float(bounds.low), float(bounds.high))


def _basis(parts: list[Part]) -> Iterable[str]:
    """What each kind of slot is estimated by."""
    tried: defaultdict[str, list[Tried]] = defaultdict(list)
    for part in parts:
        tried[part.kind] += part.tried
    for kind in (*TEXTS, *CLIPS):
        left = sum(part.left for part in parts if part.kind == kind)
        full = sum(slot.full for slot in tried[kind])
        asked = sum(slot.requests for slot in tried[kind])
        if not left:
            continue
        if full >= 2:
            yield (
                f"{kind}: {left:,} slots are left, by the {asked:,} requests that filled {full:,}."
            )
        else:
            yield f"{kind}: {left:,} slots are left, by rules of thumb (--probe N measures)."
