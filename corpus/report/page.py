"""The page of a report: charts by Plotly, sounds and numbers in one file that needs no network."""

from pathlib import Path

import orjson

from corpus.dataset.dataset_folder import DatasetFolder
from corpus.errors import InvalidInput, SympatheiaError
from corpus.report import charts
from corpus.report.chart_parts import Chart
from corpus.report.evaluation_tables import Table, of_corpus
from corpus.report.page_parts import rendered
from corpus.report.report_data import Facts, Sample, gather, samples
from corpus.store.files import write_whole
from schemas.names import EVALUATION
from schemas.slots import SPLITS

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def write_report(dataset: DatasetFolder, output: Path | None = None) -> Path:
    """Writes `report.json` and `report.html` of a run, or of any dataset folder.

    Args:
        dataset: what it is about; as a run's folder, if that is there.
        output: where the two files go; the run folder itself if None.

    Returns:
        The path of the page.

    Raises:
        InvalidInput: the dataset has no rows, or it is a bare dataset folder and no output is
            given.
        SympatheiaError: a file of the dataset or of the run is missing or damaged.
    """
    folder = dataset.run.root
    if output is None and dataset.root == folder:
        raise InvalidInput(
            f"{folder} is a dataset folder, whose files are all in its manifest, so a report does "
            "not belong into it. Name another place with --output."
        )
    facts = gather(dataset)
    target = output or folder
    page = target / "report.html"
    write_whole(target / "report.json", orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n")
    judged = _judged(folder)
    write_whole(page, render(facts, list(samples(dataset)), judged).encode())
    return page


def _judged(folder: Path) -> Table | None:
    """What an evaluation has found of a corpus, if one has left its figures beside it."""
    path = folder / EVALUATION
    if not path.is_file():
        return None
    try:
        return of_corpus(orjson.loads(path.read_bytes()), folder.resolve().name)
    except (ValueError, LookupError, TypeError) as error:
        raise SympatheiaError(
            f"{path} is damaged. Remove it, or write it anew with 'sympatheia evaluate'."
        ) from error


def render(facts: Facts, pairs: list[Sample], judged: Table | None = None) -> str:
    """The page.

    Args:
        facts: what `corpus.report.report_data.gather` found.
        pairs: to listen to, in order.
        judged: what an evaluation has found, if there was one.
    """
    return rendered(
        TEMPLATE,
        facts=facts,
        samples=pairs,
        plane=charts.plane(facts),
        sections=[section for section in _sections(facts) if section[2]],
        total=sum(sum(counts.values()) for counts in facts["pairs"].values()),
        subsets=list(facts["pairs"]),
        judged=judged,
        cast=_cast(facts),
    )


def _cast(facts: Facts) -> Table | None:
    """Who is heard how much; None where one voice speaks all queries, and one all responses."""
    if "cast" not in facts:
        return None
    told = ("name", "gender", "age", "timbre")
    heard = [(split, what) for split in SPLITS for what in ("clips", "minutes")]
    columns = (*told, *(f"{split}, {what}" for split, what in heard))
    rows = [
        (*(one[name] for name in told), *(f"{one[what][split]:,}" for split, what in heard))
        for one in facts["cast"]
    ]
    return Table("Speakers", "", columns, rows)


def _sections(facts: Facts) -> list[tuple[str, str, list[Chart]]]:
    """Heading, introduction and charts of each part of the page after the plane and the sounds."""
    return [
        (
            "Lengths",
            "How long queries and responses are. A neutral query is shared by its responses and "
            "counts once.",
            charts.lengths(facts),
        ),
        (
            "Near-duplicates",
            "How alike texts are, by the cosine of their MiniLM embeddings.",
            charts.alike(facts),
        ),
        (
            "What was refused",
            "Every candidate that broke a rule, by rule and by cell, and the share that was kept.",
            charts.refused(facts),
        ),
        (
            "Affect in the sound",
            "The features by which the published system is measured, for each anchor against its "
            "arousal. Lines reach from the lower to the upper quartile.",
            charts.prosody(facts),
        ),
        ("Cost", "What the texts took.", charts.tokens(facts)),
        ("Adapter", "The adapter that was trained on this corpus.", charts.losses(facts)),
    ]
