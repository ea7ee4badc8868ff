"""The command line. Results go to standard output, progress and errors to standard error."""

import gc
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from corpus.errors import InvalidInput, SympatheiaError, in_words
from flows.adapter_cli import COMMANDS as ADAPTER_COMMANDS
from flows.deployments import deploy
from flows.publish_cli import COMMANDS as PUBLISH_COMMANDS

if TYPE_CHECKING:  # imported where they are used, so that help and refusals come at once
    from corpus.plan.prompt_files import Prompts
    from corpus.run.run_folder import RunFolder
    from schemas.recipe import Stage

STAGES = ("plan", "queries", "responses", "speech", "shards")

PROMPTS_OPTION = click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    help="A prompts folder; the bundled one if not given.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the trace of an error.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, asked: _print_release(context) if asked else None,
    help="Show the version, and the digests of the bundled prompts and of the locked packages.",
)
def cli(debug: bool) -> None:
    """Builds corpora of emotion-conditioned spoken dialogue."""


def _print_release(context: click.Context) -> None:
    from corpus.run.release import release

    click.echo(release())
    context.exit()


@cli.command()
@click.argument("recipe")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the run keeps its work; runs/NAME if not given.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the recipe: dotted KEY, TOML VALUE.",
)
@click.option("--until", type=click.Choice(STAGES), default=STAGES[-1], help="The last stage.")
def build(recipe: str, run_dir: Path | None, overrides: tuple[str, ...], until: "Stage") -> None:
    """Build or continue the corpus of RECIPE, a bundled name (demo, sympatheia-18k) or a file."""
    from flows.orders import resolve
    from flows.services import prefect_api
    from flows.work import at_work
    from schemas.orders import CorpusOrder

    order = CorpusOrder(
        recipe=recipe,
        run_dir=run_dir,
        overrides=overrides,
        until=until,
        report=False,
        check=False,
    )
    asked = resolve(order)
    loaded, run = asked.recipe, asked.run
    own = "a vLLM of its own" if loaded.llm.vllm.python else "the embedded server"
    servers = ", ".join(loaded.llm.endpoints) or own
    voices = ", ".join(loaded.speech.endpoints) or "the builtin voice"
    _say(f"{loaded.name}: {asked.plan.pair_count:,} pairs from {asked.plan.query_count:,} queries")
    _say(f"  prompts  {asked.prompts.folder}, templates '{loaded.llm.templates}'")
    _say(f"  texts    {loaded.llm.model} at {servers}")
    _say(f"  speech   {voices}")
    _say(f"  folder   {run.root}")
    with at_work(run, until, adopt=(loaded, asked.prompts)) as work:
        work.begin_texts()
        with prefect_api():
            from flows.corpus import build_corpus

            # What is imported stays. The collector would walk through it again and again, a fifth
            # of a second each time, while hundreds of requests wait for the event loop.
            gc.freeze()
            build_corpus(order)
    _say(f"Done. {_made(run, until)}")


def _made(run: "RunFolder", until: "Stage") -> str:
    match until:
        case "plan":
            return f"The resolved recipe is {run.recipe}."
        case "queries":
            return f"The queries are in {run.queries}."
        case "responses":
            return f"The texts are in {run.queries.parent}."
        case "speech":
            return f"The clips are in {run.store}, listed in {run.clips}."
    return f"The dataset is {run.corpus}; what was refused is in {run.rejects}."


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(folder: Path, as_json: bool) -> None:
    """Show what a run has done, per stage and cell, and what it refused."""
    from corpus.run.run_folder import RunFolder
    from flows.status import print_status, read_status

    found = read_status(RunFolder(folder))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_status(found)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(folder: Path, as_json: bool) -> None:
    """Check a run's dataset, or any dataset folder of this format, from its files alone."""
    from corpus.checks.dataset_check import check_folder
    from corpus.checks.gates import require_passed
    from flows.status import gates_as_data, print_gates

    gates = check_folder(folder)
    if as_json:
        click.echo(json.dumps(gates_as_data(gates), indent=2))
    else:
        print_gates(gates)
    require_passed(gates)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the report goes; into FOLDER, if that is a run, if not given.",
)
def report(folder: Path, output: Path | None) -> None:
    """Write report.html, a page to read and listen to, and report.json, its figures."""
    from corpus.report.page import write_report

    click.echo(write_report(folder, output))


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "layout",
    type=click.Choice(["reference"]),
    default="reference",
    show_default=True,
    help="The layout: that of the published pipeline.",
)
def export(folder: Path, output: Path, layout: str) -> None:
    """Write a corpus into OUTPUT as the published pipeline lays it out, WAV files and all."""
    from corpus.dataset import published_layout

    pairs = {"reference": published_layout.export}[layout](folder, output)
    _say(f"{pairs:,} pairs of {folder} are in {output}.")
    click.echo(output)


@cli.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--recipe",
    default="sympatheia-18k",
    show_default=True,
    help="Says what the corpus is called, which models and voices made it, and its prompts.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As for build.")
def import_(source: Path, output: Path, recipe: str, overrides: tuple[str, ...]) -> None:
    """Read a corpus that the published pipeline made into the dataset folder OUTPUT."""
    from corpus.dataset.published_layout import import_corpus
    from corpus.plan.recipe_files import load_recipe, recipe_prompts

    loaded = load_recipe(recipe, overrides)
    done = import_corpus(source, output, loaded, recipe_prompts(loaded))
    if done.left_out:
        examples = ", ".join(done.examples)
        _say(f"Left out for want of a clip or an answer: {done.left_out:,}, such as {examples}.")
    _say(f"{done.pairs:,} pairs are in {output}; 'sympatheia check {output}' tells how good.")
    click.echo(output)


@cli.group()
def anchors() -> None:
    """List or check the anchors of a prompts folder."""


@anchors.command("list")
@PROMPTS_OPTION
def list_anchors(prompts: Path | None) -> None:
    """List the anchors with their coordinates and styles."""
    from flows.status import print_anchors

    for loaded in _every_template_set(prompts)[:1]:
        print_anchors(loaded.anchors)


@anchors.command("check")
@PROMPTS_OPTION
def check_anchors(prompts: Path | None) -> None:
    """Check that a prompts folder is complete and consistent."""
    sets = _every_template_set(prompts)
    click.echo(
        f"{sets[0].folder}: {len(sets[0].anchors)} anchors, {len(sets[0].topics)} topics, "
        f"templates {', '.join(loaded.template_set for loaded in sets)}: all in order."
    )


def _every_template_set(folder: Path | None) -> list["Prompts"]:
    from corpus.plan.prompt_files import BUNDLED, load_prompts, template_sets

    folder = folder or BUNDLED
    # A folder without any set is refused by name, as one without the usual set.
    return [load_prompts(folder, name) for name in template_sets(folder) or ["full"]]


@cli.command()
@click.argument("recipe")
@click.option("--anchor", required=True, help="The anchor to preview.")
@click.option("-n", "count", type=click.IntRange(0, 20), default=1, help="How many sample pairs.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As for build.")
def preview(recipe: str, anchor: str, count: int, overrides: tuple[str, ...]) -> None:
    """Show the prompts of an anchor and some sample pairs, without writing a run."""
    from corpus.plan.recipe_files import load_recipe
    from flows.preview import print_preview

    print_preview(load_recipe(recipe, overrides), anchor, count)


@cli.group(
    epilog="For a corpus worth training on, serve the text model with vLLM, name its address in "
    "llm.endpoints, or let a build start it (llm.vllm.python):\n\n"
    "\b\n"
    "vllm serve Qwen/Qwen3-32B --port 8000 --reasoning-parser qwen3 \\\n"
    "    --enable-prefix-caching --tensor-parallel-size 2"
)
def serve() -> None:
    """Run one of the servers that the pipeline can use."""


@serve.command("text")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Texts depend on this number; busy cores make more of them slower, not faster.",
)
def serve_text(port: int, threads: int) -> None:
    """Serve the embedded text model at /v1/chat/completions."""
    from corpus.voices import embedded_text_server

    embedded_text_server.serve(port, threads)


@serve.command("voice")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8091, show_default=True)
def serve_voice(host: str, port: int) -> None:
    """Serve the builtin voice at /v1/audio/speech."""
    from corpus.voices import builtin_server

    builtin_server.serve(host, port)


@serve.command("qwen-tts")
@click.option("--model", required=True, help="A Qwen3-TTS CustomVoice model: folder or hub name.")
@click.option(
    "--device",
    default="cuda:0",
    show_default=True,
    help="Where it runs: cpu, cuda:0, or several as cuda:0,cuda:1, each in a process of its own.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8091, show_default=True)
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Most requests spoken together; 1 makes each repeatable by its seed.",
)
@click.option("--name", default="", help="What requests call the model; as it is called here.")
@click.option(
    "--python",
    type=click.Path(path_type=Path),
    help="An interpreter that has qwen-tts; .venv-qwen-tts/bin/python if it is there.",
)
def serve_qwen_tts(
    model: str, device: str, host: str, port: int, batch: int, name: str, python: Path | None
) -> None:
    """Serve Qwen3-TTS at /v1/audio/speech, after `make setup-qwen-tts`."""
    from corpus.voices import qwen_server

    devices = [one.strip() for one in device.split(",")]
    qwen_server.launch(
        python, model=model, devices=devices, host=host, port=port, batch=batch, name=name
    )


for command in (*ADAPTER_COMMANDS, *PUBLISH_COMMANDS, deploy):
    cli.add_command(command)


def _say(text: str) -> None:
    click.echo(text, err=True)


def main() -> None:
    """Runs the command line and turns every error into a sentence and an exit code."""
    # Wherever it stands: one adds it behind a command that has just failed.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        cli.main(arguments, standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(InvalidInput.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _say("Stopped. What was saved is kept: run the same command again to continue from there.")
        # Threads that compute would be waited for, and every file is closed by now.
        os._exit(130)
    except SympatheiaError as error:
        if debug:
            raise
        _say(f"Error: {in_words(error)}")
        sys.exit(error.exit_code)
    except OSError as error:
        if debug:
            raise
        _say(f"Error: {in_words(error)}")
        sys.exit(SympatheiaError.exit_code)
    except Exception as error:  # the last resort: a defect of ours, said as such
        if debug:
            raise
        _say(f"Error: {type(error).__name__}: {error}. This is a defect; --debug shows its trace.")
        sys.exit(SympatheiaError.exit_code)
