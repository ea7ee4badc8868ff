"""Looking at what was made (status, check, report), and at what is needed (doctor)."""

import json
from pathlib import Path

import click

from flows.cli.common import AS_JSON, FOLDER, OVERRIDES, WrittenPath, say
from schemas.names import STAGES, Stage


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
@click.option("--store", is_flag=True, help="Read the whole store of a run instead.")
@click.option("--forget", is_flag=True, help="Let go of what is damaged in the store.")
@AS_JSON
def check(folder: Path, store: bool, forget: bool, as_json: bool) -> None:
    """Check a run's dataset, or any dataset folder of this format, from its files alone."""
    if store:
        _check_store(folder, forget=forget, as_json=as_json)
        return
    if forget:
        raise click.UsageError("--forget goes with --store: it lets go of what is damaged there.")
    from corpus.checks.gates import gates_as_data, require_passed
    from corpus.opened import Corpus
    from corpus.run.progress import Progress
    from flows.cli.status_tables import print_gates
    from flows.display import shown

    corpus, progress = Corpus.open(folder), Progress(None)
    with shown(progress):
        outcomes = corpus.gates(progress)
    if as_json:
        click.echo(json.dumps(gates_as_data(outcomes), indent=2))
    else:
        print_gates(outcomes)
    require_passed(outcomes)
    say(f"All {len(outcomes)} gates passed.")


def _check_store(folder: Path, *, forget: bool, as_json: bool) -> None:
    from corpus.checks.run_store import as_data, check_store, require_whole
    from corpus.run.run_folder import RunFolder

    found = check_store(RunFolder(folder), forget=forget)
    if as_json:
        click.echo(json.dumps(as_data(found), indent=2))
    else:
        for damage in found.damaged:
            click.echo(f"{damage.file}: {damage.problem}")
        click.echo(f"{found.records:,} records and {found.clips:,} clips are whole.")
    if not forget:
        require_whole(folder, found)
    elif found.damaged:
        say(f"Let go of {len(found.damaged):,} damaged; the next build makes them again.")


@click.command()
@FOLDER
@click.option(
    "--output",
    type=WrittenPath(path_type=Path, file_okay=False),
    help="Where the report goes; into FOLDER, if that is a run, if not given.",
)
def report(folder: Path, output: Path | None) -> None:
    """Write report.html, a page to read and listen to, and report.json, its figures."""
    from corpus.opened import Corpus

    click.echo(Corpus.open(folder).write_report(output))


@click.command()
@click.argument("recipe", required=False)
@click.option(
    "--run-dir",
    type=WrittenPath(path_type=Path, file_okay=False),
    help="Where the run will keep its work; runs/NAME if not given.",
)
@OVERRIDES
@click.option("--until", type=click.Choice(STAGES), default=STAGES[-1], help="The last stage.")
@click.option("--repo-id", default="", help="NAMESPACE/NAME on the Hub to be published to.")
@AS_JSON
def doctor(
    recipe: str | None,
    run_dir: Path | None,
    overrides: tuple[str, ...],
    until: Stage,
    repo_id: str,
    as_json: bool,
) -> None:
    """Look at what a run of RECIPE needs before it starts; without RECIPE at this machine alone.

    Servers are asked for some short texts and clips, voices only where the run comes to speech.
    Nothing of it is kept.
    """
    from corpus.errors import InvalidInput
    from corpus.preflight.doctor import examine
    from corpus.preflight.findings import RunAhead, findings_as_data, require_none_failed
    from flows.cli.status_tables import print_findings
    from flows.orders import resolve
    from schemas.orders import CorpusOrder

    if recipe is None and overrides:
        raise InvalidInput("--set changes a recipe, and none is named. Name one before it.")
    ahead = RunAhead(repo_id=repo_id)
    if recipe is not None:
        asked = resolve(CorpusOrder(recipe=recipe, run_dir=run_dir, overrides=overrides))
        ahead = RunAhead(asked.blueprint, asked.folder.root, until, repo_id)
    findings = examine(ahead)
    if as_json:
        click.echo(json.dumps(findings_as_data(findings), indent=2))
    else:
        print_findings(findings)
    require_none_failed(findings)
