"""The page of a report: charts by Plotly, sounds and numbers in one file that needs no network."""

from base64 import b64encode
from pathlib import Path

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from corpus import report_charts
from corpus.chart import Chart
from corpus.report import Facts, Sample
from schemas.slots import SUBSETS

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def render(facts: Facts, samples: list[Sample]) -> str:
    """The page.

    Args:
        facts: what `corpus.report.gather` found.
        samples: pairs to listen to, in order.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True
    )
    environment.filters |= {"sound": _sound, "thousands": lambda number: f"{number:,}"}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        facts=facts,
        samples=samples,
        plane=report_charts.plane(facts),
        sections=[section for section in _sections(facts) if section[2]],
        total=sum(sum(counts.values()) for counts in facts["pairs"].values()),
        subsets=SUBSETS,
        library=Markup(get_plotlyjs()),
    )


def _sound(data: bytes) -> str:
    return "data:audio/mpeg;base64," + b64encode(data).decode("ascii")


def _sections(facts: Facts) -> list[tuple[str, str, list[Chart]]]:
    """Heading, introduction and charts of each part of the page after the plane and the sounds."""
    return [
        (
            "Lengths",
            "How long queries and responses are. A neutral query is shared by its responses and "
            "counts once.",
            report_charts.lengths(facts),
        ),
        (
            "Near-duplicates",
            "How alike texts are, by the cosine of their MiniLM embeddings.",
            report_charts.alike(facts),
        ),
        (
            "What was refused",
            "Every candidate that broke a rule, by rule and by cell, and the share that was kept.",
            report_charts.refused(facts),
        ),
        (
            "Affect in the sound",
            "The features by which the published system is measured, for each anchor against its "
            "arousal. Lines reach from the lower to the upper quartile.",
            report_charts.prosody(facts),
        ),
        ("Cost", "What the texts took.", report_charts.tokens(facts)),
        ("Adapter", "The adapter that was trained on this corpus.", report_charts.losses(facts)),
    ]
