"""The charts of a report, part by part; what a run does not know has none."""

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from corpus.report.chart_parts import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    ROLES,
    Chart,
    bars,
    styled,
)
from corpus.report.report_data import Facts
from corpus.speech.clip_requests import QUERY

FEATURE_NAMES = {
    "f0_mean": "F0 mean, Hz",
    "f0_sd": "F0 standard deviation, Hz",
    "f0_range": "F0 range, Hz",
    "energy_mean": "energy mean, RMS",
    "energy_sd": "energy standard deviation, RMS",
    "rate": "words per second",
    "centroid": "spectral centroid, Hz",
}


def plane(facts: Facts) -> Chart:
    """The anchors at their coordinates."""
    anchors, subsets = facts["anchors"], list(facts["pairs"])
    counts = [sum(anchor[subset] for subset in subsets) for anchor in anchors]
    largest = max(counts)
    figure = go.Figure(_between(facts))
    figure.add_trace(
        go.Scatter(
            x=[anchor["valence"] for anchor in anchors],
            y=[anchor["arousal"] for anchor in anchors],
            text=[anchor["name"] for anchor in anchors],
            customdata=[[anchor[subset] for subset in subsets] for anchor in anchors],
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
            + "<br>".join(f"%{{customdata[{n}]:,}} {name} pairs" for n, name in enumerate(subsets))
            + "<extra></extra>",
        )
    )
    styled(figure, "valence: unpleasant to pleasant", "arousal: calm to excited", 480)
    figure.update_xaxes(range=[-1.15, 1.15], zeroline=True, zerolinecolor="#999999")
    figure.update_yaxes(range=[-1.15, 1.15], zeroline=True, zerolinecolor="#999999")
    return Chart(
        "The valence-arousal plane",
        "Each anchor at its coordinates; the larger, the more pairs."
        + (" Dots are the points between them." if facts.get("points") else ""),
        figure,
        ("anchor", "valence", "arousal", *subsets, "query style", "response style"),
        [
            (
                anchor["name"],
                anchor["valence"],
                anchor["arousal"],
                *(anchor[subset] for subset in subsets),
                anchor["query_style"],
                anchor["response_style"],
            )
            for anchor in anchors
        ],
    )


def _between(facts: Facts) -> list[go.Scatter]:
    """The points of responses that lie between the anchors, if the corpus has such."""
    points = facts.get("points")
    if not points:
        return []
    return [
        go.Scatter(
            x=[valence for valence, _ in points],
            y=[arousal for _, arousal in points],
            mode="markers",
            marker={"size": 4, "color": GREEN, "opacity": 0.5},
            hoverinfo="skip",
            showlegend=False,
        )
    ]


def lengths(facts: Facts) -> list[Chart]:
    """Seconds and words of queries and of responses."""
    return [
        bars(
            f"{unit.capitalize()} of a {role}",
            f"{facts['hours'][role]:,.1f} hours of {plural} in all." if unit == "seconds" else "",
            facts[unit][role],
            unit,
            plural,
        )
        for unit in ("seconds", "words")
        for role, plural in ROLES
    ]


def alike(facts: Facts) -> list[Chart]:
    """How near queries came to each other, and responses to one query."""
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
        chart = bars(title, caption, found, "cosine similarity", what)
        chart.figure.add_vline(
            limit, line_dash="dash", annotation_text=f"threshold {limit:g}", annotation_x=limit
        )
        charts.append(chart)
    return charts


def refused(facts: Facts) -> list[Chart]:
    """Acceptance, and refusals by rule and by cell."""
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
        styled(figure, "candidates", "", 120 + 26 * len(rules))
        figure.update_yaxes(autorange="reversed", automargin=True)
        charts.append(
            Chart(
                "By rule", "", figure, ("stage", "rule", "candidates"), [(*rule,) for rule in rules]
            )
        )
        charts.append(_cells(refusals["cells"]))
    return charts


_STAGES = {"queries": BLUE, "responses": GREEN, "annotations": PURPLE}


def _acceptance(acceptance: dict[str, dict[str, float]]) -> Chart:
    figure = go.Figure(
        [
            go.Bar(
                x=list(cells),
                y=list(cells.values()),
                name=stage,
                marker_color=_STAGES[stage],
                hovertemplate="%{x}: %{y:.1%}<extra>" + stage + "</extra>",
            )
            for stage, cells in acceptance.items()
        ]
    )
    styled(figure, "", "share kept", 420)
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
    styled(figure, "", "", 220 + 20 * len(down))
    figure.update_xaxes(tickangle=-60, automargin=True)
    figure.update_yaxes(autorange="reversed", automargin=True)
    return Chart(
        "By rule and cell", "", figure, ("cell", "rule", "candidates"), [(*r,) for r in rows]
    )


def prosody(facts: Facts) -> list[Chart]:
    """The features of the clips against arousal."""
    sound = facts["sound"]
    if not sound:
        return []
    place = {anchor["name"]: anchor for anchor in facts["anchors"]}
    charts = []
    for role, plural in ROLES:
        by_anchor = {
            name: found for name, found in sound["by_anchor"].get(role, {}).items() if name in place
        }
        if by_anchor:
            charts.append(_features(sound, role, plural, by_anchor, place))
    return charts


def _quartiles(
    by_anchor: dict[str, dict[str, list[float]]], name: str, place: dict[str, Any]
) -> go.Scatter:
    """A feature's median at each anchor, with lines to its quartiles."""
    anchors = [anchor for anchor, found in by_anchor.items() if name in found]
    low, middle, high = zip(*(by_anchor[anchor][name] for anchor in anchors), strict=True)
    return go.Scatter(
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
    )


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
        figure.add_trace(_quartiles(by_anchor, name, place), row=row, col=1)
    styled(figure, "", "", 220 * len(features))
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


def tokens(facts: Facts) -> list[Chart]:
    """Tokens of what was kept, with all that was paid for in the caption."""
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
    if price := sum(value or 0.0 for value in cost["gpu_cost"].values()):
        caption += f" They cost about {price:,.2f}."
    return [
        bars(f"Tokens of a {role}", caption if role == QUERY else "", found, "tokens", plural)
        for role, plural in ROLES
        if (found := cost["tokens"][role])["edges"]
    ]


def losses(facts: Facts) -> list[Chart]:
    """The losses of the adapter."""
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
    styled(figure, "step", "loss per token")
    return [
        Chart(
            "Losses",
            f"The adapter of step {training['best_step']:,} was kept, the best on the eval split.",
            figure,
            ("", "value"),
            [(name.replace("_", " "), round(v, 4)) for name, v in training["losses"].items()],
        )
    ]
