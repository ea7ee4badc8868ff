"""The page of a comparison: what moved, where, by how much, and pairs to hear before and after."""

from pathlib import Path

import orjson
import plotly.graph_objects as go

from corpus.report.chart_parts import BLUE, GREEN, ORANGE, RED, Chart, styled
from corpus.report.comparison_data import Side
from corpus.report.comparison_tables import sentences, tables
from corpus.report.page_parts import rendered
from corpus.report.report_data import Facts, Sample
from corpus.store.files import write_whole

TEMPLATE = Path(__file__).with_name("comparison.html.jinja")

_MOVED = {"unchanged": BLUE, "changed": ORANGE, "added": GREEN, "gone": RED}


def write_comparison(a: Side, b: Side, facts: Facts, output: Path) -> Path:
    """Writes `comparison.json` and `comparison.html`.

    Args:
        a: the one.
        b: the other.
        facts: what `corpus.report.comparison_data.gather_comparison` found of both.
        output: the folder they go into; it is made if it is not there.

    Returns:
        The path of the page.

    Raises:
        SympatheiaError: a file of one of them is missing or damaged.
    """
    content = orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n"
    write_whole(output / "comparison.json", content)
    ids = [pair["id"] for pair in facts["pairs"]]
    heard = [
        {row["id"]: Sample.of(row) for row in side.dataset.pairs_with_audio(ids)} for side in (a, b)
    ]
    page = output / "comparison.html"
    text = rendered(
        TEMPLATE,
        facts=facts,
        sentences=sentences(facts),
        where=_where(facts["cells"]),
        tables=tables(facts),
        samples=[(pair, [(name, by[pair["id"]]) for name, by in zip("AB", heard, strict=True)])
                 for pair in facts["pairs"]],
    )  # fmt: skip
    write_whole(page, text.encode())
    return page


def _where(cells: list[Facts]) -> Chart:
    """The rows of each cell by what became of them."""
    figure = go.Figure(
        [
            go.Bar(
                x=[found["cell"] for found in cells],
                y=[found[what] for found in cells],
                name=what,
                marker_color=colour,
                hovertemplate="%{x}: %{y:,}<extra>" + what + "</extra>",
            )
            for what, colour in _MOVED.items()
        ]
    )
    styled(figure, "", "rows", 420)
    figure.update_layout(barmode="stack", showlegend=True)
    figure.update_xaxes(tickangle=-60, automargin=True)
    return Chart(
        "Rows by cell",
        "A row is changed if any of its columns differs.",
        figure,
        ("cell", *_MOVED),
        [(found["cell"], *(found[what] for what in _MOVED)) for found in cells],
    )
