"""The commands that judge what was made, or hold two corpora against each other."""

import json
from pathlib import Path

import click

from flows.cli.common import AS_JSON, WrittenPath, say


@click.command()
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    metavar="FOLDER...",
    type=WrittenPath(path_type=Path, exists=True, file_okay=False),
)
@click.option(
    "--output",
    type=WrittenPath(path_type=Path, file_okay=False),
    help="Where figures and page go; into the first FOLDER if not given.",
)
@click.option(
    "--metrics",
    multiple=True,
    metavar="LIST",
    help="The measures, parted by commas: prosody, invariance, intelligibility, naturalness, "
    "recoverability, diversity, judge. All if not given; judge needs evaluation.judge.model.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of evaluation.* or compute.*: dotted KEY, TOML VALUE.",
)
@AS_JSON
def evaluate(
    folders: tuple[Path, ...],
    output: Path | None,
    metrics: tuple[str, ...],
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Judge each FOLDER by what it answers: evaluation.json, its figures, and evaluation.html.

    A FOLDER is a run or dataset folder, whose own responses are judged, a responses folder, or one
    of WAV files with a manifest.jsonl or manifest.csv. What is computed and asked is kept: after a
    kill the same command goes on where it was.
    """
    from corpus.evaluation.evaluation_folder import EvaluationFolder, named
    from corpus.evaluation.systems import open_systems
    from flows.cli.status_tables import print_evaluation
    from flows.services.prefect_server import prefect_api
    from schemas.orders import EvaluationOrder

    order = EvaluationOrder(
        folders=folders, output=output, metrics=named(metrics), overrides=overrides
    )
    asked = EvaluationFolder.of(order)
    systems = open_systems(asked.folders, asked.settings)  # refusals come before Prefect
    say(", ".join(f"{system.name}: {len(system.rows):,} responses" for system in systems))
    with prefect_api():
        from flows.evaluation import evaluate_systems

        figures = evaluate_systems(order)
    said = figures.read_text(encoding="utf-8")
    if as_json:
        click.echo(said, nl=False)
        return
    print_evaluation(json.loads(said))
    click.echo(asked.page)
