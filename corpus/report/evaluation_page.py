"""The page of an evaluation: tables, charts and sounds in one file that needs no network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from corpus.evaluation.clip_measures import MOS, PROBLEM
from corpus.evaluation.evaluation import Evaluated
from corpus.evaluation.measures.registry import MEASURES
from corpus.evaluation.measures.sensitivity import RATING
from corpus.report.chart_parts import Chart
from corpus.report.evaluation_charts import by_emotion, confusions, on_the_plane, scores
from corpus.report.evaluation_tables import overview, tables
from corpus.report.page_parts import mp3, rendered
from corpus.report.report_data import Facts
from corpus.store.files import write_whole

TEMPLATE = Path(__file__).with_name("evaluation.html.jinja")


@dataclass(frozen=True, slots=True)
class Heard:
    """A response to listen to: whose, how it was scored, and its sound as MP3."""

    system: str
    emotion: str
    which: str
    row: pd.Series
    score: str
    sound: bytes


def write_page(facts: Facts, evaluated: Sequence[Evaluated], path: Path) -> Path:
    """Writes the page of an evaluation.

    Args:
        facts: its figures.
        evaluated: the systems, for the samples.
        path: where it goes.

    Raises:
        SympatheiaError: a table with sound is damaged.
        OSError: the disk is full or fails.
    """
    mains = [one for one in evaluated if not one.system.is_variant]
    missing = {
        name: system["missing"] for name, system in facts["systems"].items() if system["missing"]
    }
    page = rendered(
        TEMPLATE,
        facts=facts,
        overview=overview(facts),
        tables=list(tables(facts)),
        charts=list(_charts(facts)),
        samples=[one for system in mains for one in samples(system)],
        missing=missing,
        abouts={one.name: one.about for one in MEASURES},
        without=_without(facts),
    )
    write_whole(path, page.encode())
    return path


def _charts(facts: Facts) -> Iterator[Chart]:
    scored = scores(facts)
    yield from (by_emotion(facts, score) for score in scored)
    made = [on_the_plane(facts, name, score) for score in scored[:1] for name in facts["systems"]]
    made += [
        confusions(facts, name, kind) for name in facts["systems"] for kind in ("sound", "text")
    ]
    yield from filter(None, made)


def _without(facts: Facts) -> dict[str, list[str]]:
    """The measures that a system was asked for and has no figures of."""
    return {
        name: lacking
        for name, system in facts["systems"].items()
        if (lacking := [measure for measure in facts["measures"] if not system.get(measure)])
    }


def samples(one: Evaluated) -> Iterator[Heard]:
    """The best and the worst response for each emotion, by the judge, else by naturalness."""
    rows = one.rows[one.rows[PROBLEM].isna()]
    score = next((name for name in (RATING, MOS) if name in rows and rows[name].notna().any()), "")
    if not score:
        return
    chosen: dict[str, tuple[str, str]] = {}
    for emotion, part in rows.dropna(subset=[score]).groupby("emotion", sort=False):
        ordered = part.sort_values([score, "id"])
        chosen[ordered["id"].iloc[-1]] = (str(emotion), "best")
        if len(ordered) > 1:
            chosen[ordered["id"].iloc[0]] = (str(emotion), "worst")
    sounds = dict(one.system.sounds(set(chosen)))
    named = {RATING: "grade", MOS: "naturalness"}[score]
    for row_id, (emotion, which) in chosen.items():
        row = rows.loc[row_id]
        said = f"{named} {row[score]:.2f}"
        yield Heard(one.system.name, emotion, which, row, said, mp3(sounds[row_id]))
