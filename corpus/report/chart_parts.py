"""What every chart of a report is made of: its title, its drawing, its numbers as a table.

The table is for those who cannot see the drawing, or want the numbers exactly.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
import plotly.io
from markupsafe import Markup

from corpus.speech.clip_requests import QUERY, RESPONSE
from schemas.slots import DIALOGUE, EMOTIONAL, GRID, NEUTRAL

ROLES = ((QUERY, "queries"), (RESPONSE, "responses"))

# Told apart by the colour-blind too (Okabe and Ito's palette).
BLUE, ORANGE, GREEN, RED, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"
COLOURS = {
    EMOTIONAL: ORANGE,
    NEUTRAL: BLUE,
    GRID: GREEN,
    DIALOGUE: PURPLE,
    "accepted": GREEN,
    "refused": RED,
    "responses": BLUE,
    "kept": GREEN,
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


def styled(figure: go.Figure, x: str, y: str, height: int = 360) -> go.Figure:
    """Gives a figure the report's look and the titles of its axes."""
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


def bars(title: str, caption: str, found: dict[str, Any], unit: str, what: str) -> Chart:
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
    styled(figure, unit, what)
    figure.update_layout(showlegend=True)
    numbers: list[tuple[Cell, ...]] = [
        (name, sum(counts), found["median"][name], found["p95"][name])
        for name, counts in found["counts"].items()
    ]
    return Chart(title, caption, figure, ("", "number", "median", "95th percentile"), numbers)
