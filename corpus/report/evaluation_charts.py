"""The charts of an evaluation's page."""

from typing import Any

import plotly.graph_objects as go

from corpus.report.chart_parts import BLUE, GREEN, ORANGE, RED, Cell, Chart, styled
from corpus.report.evaluation_tables import found, shown
from corpus.report.report_data import Facts

SYSTEM_COLOURS = (BLUE, ORANGE, GREEN, RED, "#cc79a7", "#56b4e9", "#f0e442", "#555555")
"""Okabe and Ito's palette, which the colour-blind tell apart."""

Score = tuple[str, tuple[str, ...], int]


def scores(facts: Facts) -> list[Score]:
    """What is scored by anchor: its name, where it lies in a system's figures, and its digits."""
    predictors = dict.fromkeys(
        key for system in facts["systems"].values() for key in system.get("naturalness") or {}
    )
    lines: list[Score] = [
        ("Grade of the judge", ("judge_sets", "by_emotion"), 2),
        *((f"Naturalness ({name})", ("naturalness", name), 2) for name in predictors),
        ("Word error rate", ("intelligibility", "by_anchor"), 3),
        ("F0 mean, Hz", ("prosody", "f0_mean", "by_anchor"), 0),
        ("Energy mean, RMS", ("prosody", "energy_mean", "by_anchor"), 4),
    ]
    return [one for one in lines if any(found(s, *one[1]) for s in facts["systems"].values())]


def by_emotion(facts: Facts, score: Score) -> Chart:
    """A score of every system at every anchor, with its interval."""
    title, path, digits = score
    figure = go.Figure()
    numbers: list[tuple[Cell, ...]] = []
    for number, (name, system) in enumerate(facts["systems"].items()):
        values = found(system, *path)
        if not values:
            continue
        anchors = [anchor for anchor in system["anchors"] if values.get(anchor)]
        of = [values[anchor] for anchor in anchors]
        numbers += [(name, a, shown(one, digits)) for a, one in zip(anchors, of, strict=True)]
        figure.add_trace(
            go.Bar(
                x=anchors,
                y=[one["mean"] for one in of],
                name=name,
                marker_color=SYSTEM_COLOURS[number % len(SYSTEM_COLOURS)],
                error_y=_ends(of),
                hovertemplate="%{x}: %{y:.3g}<extra>" + name + "</extra>",
            )
        )
    styled(figure, "", title, 420)
    figure.update_layout(barmode="group", showlegend=True)
    figure.update_xaxes(tickangle=-60, automargin=True)
    caption = "Mean and 95 % interval of the responses for each emotion."
    return Chart(f"{title} by emotion", caption, figure, ("system", "emotion", "mean"), numbers)


def _ends(of: list[dict[str, Any]]) -> dict[str, Any]:
    known = [one["low"] is not None for one in of]
    return {
        "type": "data",
        "symmetric": False,
        "array": [one["high"] - one["mean"] if k else 0 for one, k in zip(of, known, strict=True)],
        "arrayminus": [
            one["mean"] - one["low"] if k else 0 for one, k in zip(of, known, strict=True)
        ],
        "color": "#666666",
    }


def on_the_plane(facts: Facts, name: str, score: Score) -> Chart | None:
    """A system's anchors on the plane, coloured by a score."""
    title, path, digits = score
    system = facts["systems"][name]
    values = found(system, *path)
    if not values:
        return None
    anchors = [anchor for anchor in system["anchors"] if values.get(anchor)]
    places = [system["anchors"][anchor] for anchor in anchors]
    figure = go.Figure(
        go.Scatter(
            x=[place["valence"] for place in places],
            y=[place["arousal"] for place in places],
            text=anchors,
            mode="markers+text",
            textposition="top center",
            cliponaxis=False,
            marker={
                "size": 22,
                "color": [values[anchor]["mean"] for anchor in anchors],
                "colorscale": "Viridis",
                "colorbar": {"thickness": 12, "title": ""},
                "line": {"width": 1, "color": "#333333"},
            },
            hovertemplate="<b>%{text}</b>: %{marker.color:.3g}<extra></extra>",
        )
    )
    styled(figure, "valence: unpleasant to pleasant", "arousal: calm to excited", 460)
    figure.update_xaxes(range=[-1.15, 1.15], zeroline=True, zerolinecolor="#999999")
    figure.update_yaxes(range=[-1.15, 1.15], zeroline=True, zerolinecolor="#999999")
    numbers: list[tuple[Cell, ...]] = [
        (anchor, place["valence"], place["arousal"], shown(values[anchor], digits))
        for anchor, place in zip(anchors, places, strict=True)
    ]
    caption = "Each anchor at its place, coloured by its mean."
    columns = ("anchor", "valence", "arousal", "mean")
    return Chart(f"{title} on the plane, {name}", caption, figure, columns, numbers)


def confusions(facts: Facts, name: str, kind: str) -> Chart | None:
    """Which emotion a classifier takes for which, by "sound" or "text"."""
    told = found(facts["systems"][name], "recoverability", kind)
    if not told:
        return None
    anchors, counts = told["anchors"], told["confusion"]
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    figure = go.Figure(
        go.Heatmap(
            x=anchors,
            y=anchors,
            z=shares,
            zmin=0,
            zmax=1,
            colorscale="Blues",
            hovertemplate="%{y} taken for %{x}: %{z:.0%}<extra></extra>",
        )
    )
    styled(figure, "taken for", "", 460)
    figure.update_xaxes(tickangle=-60, automargin=True)
    figure.update_yaxes(autorange="reversed", automargin=True)
    numbers: list[tuple[Cell, ...]] = [
        (anchor, other, counts[row][column])
        for row, anchor in enumerate(anchors)
        for column, other in enumerate(anchors)
        if counts[row][column]
    ]
    by = "its sound" if kind == "sound" else "its words"
    caption = "Each row is an emotion; the darker, the larger the share that was taken for it."
    columns = ("emotion", "taken for", "responses")
    return Chart(f"Told from {by}, {name}", caption, figure, columns, numbers)
