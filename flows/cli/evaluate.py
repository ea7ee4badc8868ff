"""The commands that judge what was made, or hold two corpora against each other."""

import json
from pathlib import Path

import click

from flows.cli.common import AS_JSON, FOLDER, WrittenPath, say

PORT = click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8110,
    show_default=True,
    help="Port to listen on; nothing but this machine reaches it.",
)


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


@click.command()
@click.argument("a", type=WrittenPath())
@click.argument("b", type=WrittenPath())
@click.option(
    "--output",
    type=WrittenPath(path_type=Path, file_okay=False),
    help="A folder for comparison.html, a page to read and listen to, and comparison.json.",
)
@AS_JSON
def compare(a: str, b: str, output: Path | None, as_json: bool) -> None:
    """Show what moved from A to B, and by how much: rows, texts, clips, anchors, figures.

    A and B are run folders, dataset folders, or NAMESPACE/NAME@TAG on the Hugging Face Hub, which
    are fetched into its cache; without @TAG the newest commit is taken. They may be two states of
    one corpus or two corpora. The exit code is 0 whatever differs.
    """
    from corpus.report.comparison_data import Side, gather_comparison
    from flows.cli.status_tables import print_comparison

    one, other = Side.named(a), Side.named(b)
    say(f"Comparing {a} with {b}")
    facts = gather_comparison(one, other)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        print_comparison(facts)
    if output is not None:
        from corpus.report.comparison_page import write_comparison

        say(f"Written: {write_comparison(one, other, facts, output)}")


@click.command()
@FOLDER
@PORT
@click.option("--reviewer", default="", help="Your name; the page asks for it if not given.")
@click.option(
    "--per-cell",
    type=click.IntRange(0),
    default=0,
    help="How many pairs of each cell are shown, drawn by the seed; all if not given.",
)
@click.option(
    "--suspicious-first",
    is_flag=True,
    help="Show first what came nearest to being refused: by likeness to others, grades, and what "
    "was measured of the clips.",
)
@click.option("--summary", is_flag=True, help="Print what came of it instead.")
@AS_JSON
def review(
    folder: Path,
    port: int,
    reviewer: str,
    per_cell: int,
    suspicious_first: bool,
    summary: bool,
    as_json: bool,
) -> None:
    """Have people listen to the pairs of a run, and strike what is not to stay.

    The next build refuses what was struck and fills its places again. A verdict is on the disk, in
    reviews.jsonl, before the page says so.
    """
    if as_json and not summary:
        raise click.UsageError("--json goes with --summary.")
    if summary:
        _print_review(folder, as_json=as_json)
        return
    from corpus.review.desk import Desk
    from corpus.review.review_server import serve
    from corpus.run.run_folder import RunFolder

    desk = Desk(RunFolder(folder), per_cell, suspicious_first=suspicious_first)
    say(f"{len(desk.pairs):,} pairs to review")
    serve(desk, reviewer, port, lambda url: say(f"Ready: open {url} in a browser; Ctrl-C ends it."))


def _print_review(folder: Path, *, as_json: bool) -> None:
    from corpus.review.summary import summarise
    from corpus.run.run_folder import RunFolder
    from flows.cli.status_tables import print_review

    found = summarise(RunFolder(folder))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_review(found)


@click.command()
@click.argument(
    "responses",
    nargs=-1,
    metavar="RESPONSES...",
    type=WrittenPath(path_type=Path, exists=True, file_okay=False),
)
@click.option("--raters", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option(
    "--queries",
    type=click.IntRange(1),
    default=6,
    show_default=True,
    help="For each of them; each is answered by every system.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@click.option(
    "--checks",
    is_flag=True,
    help="Have one trial in ten be an attention check: a voice that says which number to give.",
)
@PORT
@click.option(
    "--output",
    type=WrittenPath(path_type=Path, file_okay=False),
    help="Write a page for each rater to hand out into this folder, and serve nothing.",
)
@click.option("--summary", is_flag=True, help="Print what came of the test instead.")
@click.option(
    "--leave-out-failed",
    is_flag=True,
    help="With --summary: without the raters who failed an attention check.",
)
@AS_JSON
def listen(
    responses: tuple[Path, ...],
    raters: int,
    queries: int,
    seed: int,
    checks: bool,
    port: int,
    output: Path | None,
    summary: bool,
    leave_out_failed: bool,
    as_json: bool,
) -> None:
    """Have raters hear what systems answer, without knowing whose it is, and rate how it fits.

    RESPONSES are folders as 'evaluate' takes them, at least two systems. The test lies in the first
    of them (.listening), or in --output; ratings of pages that were handed out go into its folder
    ratings.
    """
    if (as_json or leave_out_failed) and not summary:
        raise click.UsageError("--json and --leave-out-failed go with --summary.")
    if not responses and not (summary and output):
        raise click.UsageError("Name the folders of the systems to be heard.")
    from corpus.review.listening_test import FOLDER as OWN

    folder = output or responses[0] / OWN
    if summary:
        _print_listening(folder, leave_out_failed=leave_out_failed, as_json=as_json)
        return
    from corpus.evaluation.systems import open_systems
    from corpus.review import listening_pages
    from corpus.review.listening_test import prepare
    from schemas.recipe_evaluation import Evaluation

    systems = open_systems(responses, Evaluation())
    test = prepare(folder, systems, raters, queries, seed, checks=checks)
    say(f"{', '.join(test.systems)}: {raters} raters, {queries} queries each, {folder}")
    if output:
        for page in listening_pages.write_pages(folder, test):
            click.echo(page)
        return
    told = "Ready: open {}?rater=N in a browser, N from 1 to {}; Ctrl-C ends it."
    listening_pages.serve(folder, test, port, lambda url: say(told.format(url, test.raters)))


def _print_listening(folder: Path, *, leave_out_failed: bool, as_json: bool) -> None:
    from corpus.review.ratings import summarise
    from flows.cli.status_tables import print_listening

    found = summarise(folder, leave_out_failed=leave_out_failed)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_listening(found)
