"""The page of a report: charts by Plotly, sounds and numbers in one file that needs no network.

Each chart has its numbers as a table beside it, for those who cannot see it or want them exactly.
"""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
import plotly.io
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from corpus.report import Facts, Sample
from corpus.speech import QUERY, RESPONSE
from schemas.slots import EMOTIONAL, NEUTRAL, SUBSETS

TEMPLATE = Path(__file__).with_name("report.html.jinja")

# Told apart by the colour-blind too (Okabe and Ito's palette).
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
COLOURS = {
    EMOTIONAL: ORANGE,
    NEUTRAL: BLUE,
    "accepted": GREEN,
    "refused": RED,
    "responses": BLUE,
    "kept": GREEN,
}
FEATURE_NAMES = {
    "f0_mean": "F0 mean, Hz",
    "f0_sd": "F0 standard deviation, Hz",
    "f0_range": "F0 range, Hz",
    "energy_mean": "energy mean, RMS",
    "energy_sd": "energy standard deviation, RMS",
    "rate": "words per second",
    "centroid": "spectral centroid, Hz",
}

Cell = str | int | float


@dataclass(frozen=True)
class Chart:
    """A chart and its numbers; `numbers` are rows under `columns`."""

    title: str
    caption: str
    figure: go.Figure
    columns: tuple[str, ...]
    numbers: list[tuple[Cell, ...]]

    @property
    def drawing(self) -> Markup:
        """The chart as HTML; it stands still under a finger, so that a phone's page scrolls."""
        html = plotly.io.to_html(
            self.figure,
            full_html=False,
            include_plotlyjs=False,
            div_id="chart-" + "-".join(self.title.lower().split()),
            default_height=self.figure.layout.height or 360,
            config={"displayModeBar": False, "responsive": True},
        )
        return Markup(html)  # made by Plotly, of numbers and of names in the plan


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
        plane=_plane(facts),
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
            _lengths(facts),
        ),
        (
            "Near-duplicates",
            "How alike texts are, by the cosine of their MiniLM embeddings.",
            _alike(facts),
        ),
        (
            "What was refused",
            "Every candidate that broke a rule, by rule and by cell, and the share that was kept.",
            _refused(facts),
        ),
        (
            "Affect in the sound",
            "The features by which the published system is measured, for each anchor against its "
            "arousal. Lines reach from the lower to the upper quartile.",
            _prosody(facts),
        ),
        ("Cost", "What the texts took.", _tokens(facts)),
        ("Adapter", "The adapter that was trained on this corpus.", _losses(facts)),
    ]


def _styled(figure: go.Figure, x: str, y: str, height: int = 360) -> go.Figure:
    figure.update_layout(
        template="simple_white",
        font={"family": "system-ui, sans-serif", "size": 14},
        margin={"l": 60, "r": 16, "t": 24, "b": 48},
        height=height,
        dragmode=False,
        barmode="overlay",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(title_text=x, fixedrange=True)
    figure.update_yaxes(title_text=y, fixedrange=True)
    return figure


def _plane(facts: Facts) -> Chart:
    anchors = facts["anchors"]
    counts = [sum(anchor[subset] for subset in SUBSETS) for anchor in anchors]
    largest = max(counts)
    figure = go.Figure(
        go.Scatter(
            x=[anchor["valence"] for anchor in anchors],
            y=[anchor["arousal"] for anchor in anchors],
            text=[anchor["name"] for anchor in anchors],
            customdata=[[anchor[subset] for subset in SUBSETS] for anchor in anchors],
            mode="markers+text",
            textposition="top center",
            cliponaxis=False,
            marker={
                "size": [16 + 24 * count / largest for count in counts],
                "color": [anchor["valence"] for anchor in anchors],
                "colorscale": [[0.0, BLUE], [0.5, "#bbbbbb"], [1.0, ORANGE]],
                "cmin": -1,
                "cmax": 1,
                "line": {"width": 1, "color": "#333333"},
            },
            hovertemplate="<b>%{text}</b><br>valence %{x:.2f}, arousal %{y:.2f}<br>"
            "%{customdata[0]:,} emotional pairs<br>%{customdata[1]:,} neutral pairs<extra></extra>",
        )
    )
    _styled(figure, "valence: unpleasant to pleasant", "arousal: calm to excited", 480)
    figure.update_xaxes(range=[-1.15, 1.15], zeroline=True, zerolinecolor="#999999")
    figure.update_yaxes(range=[-1.15, 1.15], zeroline=True, zerolinecolor="#999999")
    return Chart(
        "The valence-arousal plane",
        "Each anchor at its coordinates; the larger, the more pairs.",
        figure,
        ("anchor", "valence", "arousal", *SUBSETS, "query style", "response style"),
        [
            (
                anchor["name"],
                anchor["valence"],
                anchor["arousal"],
                *(anchor[subset] for subset in SUBSETS),
                anchor["query_style"],
                anchor["response_style"],
            )
            for anchor in anchors
        ],
    )


def _bars(title: str, caption: str, found: Facts, unit: str, what: str) -> Chart:
    """A histogram of several series over the same bins."""
    edges = found["edges"]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    figure = go.Figure(
        [
            go.Bar(
                x=middles,
                y=counts,
                name=name,
                width=edges[1] - edges[0],
                marker={"color": COLOURS[name], "opacity": 0.7},
                hovertemplate="%{x:.3g} " + unit + ": %{y:,}<extra>" + name + "</extra>",
            )
            for name, counts in found["counts"].items()
        ]
    )
    _styled(figure, unit, what)
    figure.update_layout(showlegend=True)
    numbers: list[tuple[Cell, ...]] = [
        (name, sum(counts), found["median"][name], found["p95"][name])
        for name, counts in found["counts"].items()
    ]
    return Chart(title, caption, figure, ("", "number", "median", "95th percentile"), numbers)


def _lengths(facts: Facts) -> list[Chart]:
    return [
        _bars(
            f"{unit.capitalize()} of a {role}",
            f"{facts['hours'][role]:,.1f} hours of {plural} in all." if unit == "seconds" else "",
            facts[unit][role],
            unit,
            plural,
        )
        for unit in ("seconds", "words")
        for role, plural in ((QUERY, "queries"), (RESPONSE, "responses"))
    ]


def _alike(facts: Facts) -> list[Chart]:
    charts = []
    for key, title, what in (
        ("duplicates", "Each query and the nearest accepted before it", "queries"),
        ("near_twins", "Responses to one neutral query, two by two", "pairs of responses"),
    ):
        found = facts[key]
        if not found or not found["edges"]:
            continue
        limit = found["threshold"]
        caption = (
            f"A query closer than {limit:g} to one that was accepted is refused."
            if key == "duplicates"
            else f"{found['near_twins']:,} of {found['compared']:,} are closer than {limit:g}; "
            "they are counted, and left in place."
        )
        chart = _bars(title, caption, found, "cosine similarity", what)
        chart.figure.add_vline(
            limit, line_dash="dash", annotation_text=f"threshold {limit:g}", annotation_x=limit
        )
        charts.append(chart)
    return charts


def _refused(facts: Facts) -> list[Chart]:
    refusals = facts["refusals"]
    if not refusals:
        return []
    rules = [
        (stage, rule, times)
        for stage, found in refusals["rules"].items()
        for rule, times in found.items()
    ]
    charts = [_acceptance(refusals["acceptance"])]
    if rules:
        names = [f"{rule} ({stage})" for stage, rule, _ in rules]
        figure = go.Figure(
            go.Bar(x=[n for _, _, n in rules], y=names, orientation="h", marker_color=RED)
        )
        _styled(figure, "candidates", "", 120 + 26 * len(rules))
        figure.update_yaxes(autorange="reversed", automargin=True)
        charts.append(
            Chart(
                "By rule", "", figure, ("stage", "rule", "candidates"), [(*rule,) for rule in rules]
            )
        )
        charts.append(_cells(refusals["cells"]))
    return charts


def _acceptance(acceptance: dict[str, dict[str, float]]) -> Chart:
    figure = go.Figure(
        [
            go.Bar(
                x=list(cells),
                y=list(cells.values()),
                name=stage,
                marker_color=colour,
                hovertemplate="%{x}: %{y:.1%}<extra>" + stage + "</extra>",
            )
            for (stage, cells), colour in zip(acceptance.items(), (BLUE, GREEN), strict=True)
        ]
    )
    _styled(figure, "", "share kept", 420)
    figure.update_layout(barmode="group")
    figure.update_yaxes(tickformat=".0%", range=[0, 1.05])
    figure.update_xaxes(tickangle=-60, automargin=True)
    return Chart(
        "Acceptance",
        "Of all candidates for a cell, the share that was kept.",
        figure,
        ("stage", "cell", "share kept"),
        [
            (stage, cell, share)
            for stage, cells in acceptance.items()
            for cell, share in cells.items()
        ],
    )


def _cells(cells: dict[str, dict[str, dict[str, int]]]) -> Chart:
    rows = [
        (cell, f"{rule} ({stage})", times)
        for stage, found in cells.items()
        for cell, rules in found.items()
        for rule, times in rules.items()
    ]
    counts = {(cell, rule): times for cell, rule, times in rows}
    across = list(dict.fromkeys(rule for _, rule, _ in rows))
    down = sorted({cell for cell, _, _ in rows})
    figure = go.Figure(
        go.Heatmap(
            x=across,
            y=down,
            z=[[counts.get((cell, rule)) for rule in across] for cell in down],
            colorscale="Oranges",
            hovertemplate="%{y}, %{x}: %{z:,}<extra></extra>",
        )
    )
    _styled(figure, "", "", 220 + 20 * len(down))
    figure.update_xaxes(tickangle=-60, automargin=True)
    figure.update_yaxes(autorange="reversed", automargin=True)
    return Chart(
        "By rule and cell", "", figure, ("cell", "rule", "candidates"), [(*r,) for r in rows]
    )


def _prosody(facts: Facts) -> list[Chart]:
    sound = facts["sound"]
    if not sound:
        return []
    place = {anchor["name"]: anchor for anchor in facts["anchors"]}
    charts = []
    for role, plural in ((QUERY, "queries"), (RESPONSE, "responses")):
        by_anchor = {
            name: found for name, found in sound["by_anchor"].get(role, {}).items() if name in place
        }
        if by_anchor:
            charts.append(_features(sound, role, plural, by_anchor, place))
    return charts


def _features(
    sound: Facts,
    role: str,
    plural: str,
    by_anchor: dict[str, dict[str, list[float]]],
    place: dict[str, Any],
) -> Chart:
    correlations = sound["spearman"].get(role, {})
    features = list(FEATURE_NAMES)
    titles = [
        FEATURE_NAMES[name]
        + (f"<br>Spearman {correlations[name]['arousal']:.2f}" if name in correlations else "")
        for name in features
    ]
    figure = make_subplots(
        rows=len(features), cols=1, subplot_titles=titles, shared_xaxes=True, vertical_spacing=0.04
    )
    for row, name in enumerate(features, start=1):
        anchors = [anchor for anchor, found in by_anchor.items() if name in found]
        low, middle, high = zip(*(by_anchor[anchor][name] for anchor in anchors), strict=True)
        figure.add_trace(
            go.Scatter(
                x=[place[anchor]["arousal"] for anchor in anchors],
                y=middle,
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [top - mid for top, mid in zip(high, middle, strict=True)],
                    "arrayminus": [mid - bottom for mid, bottom in zip(middle, low, strict=True)],
                    "color": "#999999",
                },
                text=anchors,
                mode="markers",
                marker={
                    "size": 10,
                    "color": [place[anchor]["valence"] for anchor in anchors],
                    "colorscale": [[0.0, BLUE], [0.5, "#bbbbbb"], [1.0, ORANGE]],
                    "cmin": -1,
                    "cmax": 1,
                },
                hovertemplate="<b>%{text}</b>: %{y:.3g}<extra></extra>",
                showlegend=False,
            ),
            row=row,
            col=1,
        )
    _styled(figure, "", "", 220 * len(features))
    figure.update_layout(margin_t=60)
    figure.update_xaxes(title_text="arousal", row=len(features))
    heard = sound["word_error_rate"]
    caption = f"{sound['clips'][role]:,} clips of {plural} were measured."
    if heard and role == QUERY:
        caption += (
            f" A recogniser heard {heard['clips']:,} clips: word error rate median "
            f"{heard['median']:.3f}, 95th percentile {heard['p95']:.3f}."
        )
    return Chart(
        f"Prosody of the {plural}",
        caption + " The table has Spearman's rank correlations.",
        figure,
        ("feature", "with valence", "with arousal"),
        [
            (FEATURE_NAMES[name], found["valence"], found["arousal"])
            for name, found in correlations.items()
        ],
    )


def _tokens(facts: Facts) -> list[Chart]:
    cost = facts["cost"]
    if not cost:
        return []
    caption = (
        f"{cost['answers']:,} answers for all pairs, {cost['answers_per_pair']:.2f} to a pair; "
        f"{cost['prompt_tokens']:,} prompt tokens and {cost['completion_tokens']:,} completion "
        "tokens."
    )
    hours = {name: value for name, value in cost["gpu_hours"].items() if value is not None}
    if hours:
        caption += " GPU-hours: " + ", ".join(f"{n} {v:,.2f}" for n, v in hours.items()) + "."
    return [
        _bars(f"Tokens of a {role}", caption if role == QUERY else "", found, "tokens", plural)
        for (role, plural), found in _zip_roles(cost["tokens"])
        if found["edges"]
    ]


def _zip_roles(tokens: dict[str, Facts]) -> Iterable[tuple[tuple[str, str], Facts]]:
    return (
        ((role, plural), tokens[role])
        for role, plural in ((QUERY, "queries"), (RESPONSE, "responses"))
    )


def _losses(facts: Facts) -> list[Chart]:
    training = facts["training"]
    if not training:
        return []
    figure = go.Figure(
        [
            go.Scatter(
                x=[step for step, _ in training[name]],
                y=[loss for _, loss in training[name]],
                name=label,
                mode="lines+markers" if name == "eval_loss" else "lines",
                line_color=colour,
            )
            for name, label, colour in (("loss", "train", BLUE), ("eval_loss", "eval", ORANGE))
        ]
    )
    _styled(figure, "step", "loss per token")
    return [
        Chart(
            "Losses",
            f"The adapter of step {training['best_step']:,} was kept, the best on the eval split.",
            figure,
            ("", "value"),
            [(name.replace("_", " "), round(v, 4)) for name, v in training["losses"].items()],
        )
    ]
