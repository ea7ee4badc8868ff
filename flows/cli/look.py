"""Looking at what was made: status, check, report."""

import json
from pathlib import Path

import click

from flows.cli.common import AS_JSON, FOLDER, WrittenPath


@click.command()
@FOLDER
@AS_JSON
def status(folder: Path, as_json: bool) -> None:
    """Show what a run has done, per stage and cell, and what it refused."""
    from corpus.run.run_folder import RunFolder
    from flows.cli.status_tables import print_status, read_status

    found = read_status(RunFolder(folder))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_status(found)


@click.command()
@FOLDER
@AS_JSON
def check(folder: Path, as_json: bool) -> None:
    """Check a run's dataset, or any dataset folder of this format, from its files alone."""
    from corpus.checks.dataset_check import check_folder
    from corpus.checks.gates import gates_as_data, require_passed
    from flows.cli.status_tables import print_gates

    gates = check_folder(folder)
    if as_json:
        click.echo(json.dumps(gates_as_data(gates), indent=2))
    else:
        print_gates(gates)
    require_passed(gates)


@click.command()
@FOLDER
@click.option(
    "--output",
    type=WrittenPath(path_type=Path, file_okay=False),
    help="Where the report goes; into FOLDER, if that is a run, if not given.",
)
def report(folder: Path, output: Path | None) -> None:
    """Write report.html, a page to read and listen to, and report.json, its figures."""
    from corpus.report.page import write_report

    click.echo(write_report(folder, output))
