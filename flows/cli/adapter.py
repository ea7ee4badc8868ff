"""The commands that lead from a corpus to an adapter."""

import json
from pathlib import Path

import click

from flows.cli.common import FOLDER, WrittenPath, say

SPEECH_TOKENIZER = click.option(
    "--speech-tokenizer",
    required=True,
    metavar="DIR_OR_ID",
    help="The speech tokenizer of GLM-4-Voice: a folder, or THUDM/glm-4-voice-tokenizer.",
)


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=WrittenPath(exists=True, dir_okay=False),
)
@SPEECH_TOKENIZER
@click.option("--device", default="cpu", show_default=True, help="Where it runs; cuda:0, perhaps.")
def tokenize(files: tuple[str, ...], speech_tokenizer: str, device: str) -> None:
    """Print the speech tokens of sound files as JSON: {file: [token, ...]}."""
    from corpus.adapter.speech_tokens import SpeechTokenizer

    tokens = SpeechTokenizer.from_pretrained(speech_tokenizer, device).encode(files)
    click.echo(json.dumps(dict(zip(files, tokens, strict=True))))


@click.command()
@FOLDER
@SPEECH_TOKENIZER
@click.option(
    "--device",
    help="Where it runs: cpu, cuda:0, or several as cuda:0,cuda:1, each with a copy of its own. If "
    "not given, on the Dask cluster of the run's recipe, or every GPU there is, or the CPU.",
)
@click.option(
    "--output",
    type=WrittenPath(path_type=Path, file_okay=False),
    help="Where sequences/ and the store of tokens go; into FOLDER, if that is a run, if not "
    "given.",
)
def encode(folder: Path, speech_tokenizer: str, device: str | None, output: Path | None) -> None:
    """Write the training sequences of a run or dataset FOLDER: sequences/encoded_*.jsonl.

    Tokens are kept: after a kill the same command goes on where it was.
    """
    from corpus.adapter.training_sequences import encode_corpus, where_encoded
    from corpus.run.progress import Progress
    from flows.display import shown

    devices = [one.strip() for one in device.split(",")] if device else None
    say(f"Speech tokens by {speech_tokenizer} {where_encoded(folder, devices)}")
    progress = Progress(None)
    with shown(progress):
        sequences = encode_corpus(folder, speech_tokenizer, devices, output, progress)
    click.echo(sequences)


@click.command()
@FOLDER
@click.option(
    "--base",
    required=True,
    metavar="DIR_OR_ID",
    help="The base model: a folder, or THUDM/glm-4-voice-9b.",
)
@click.option(
    "--output",
    type=WrittenPath(path_type=Path, file_okay=False),
    help="Where the adapter goes; FOLDER/adapter if not given.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of adapter.*."
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    help="One for each GPU; as many as there are if not given.",
)
@click.option(
    "--deepspeed",
    type=WrittenPath(path_type=Path, exists=True, dir_okay=False),
    help="A DeepSpeed configuration; flows/deepspeed-zero3.json is one.",
)
def train(
    folder: Path,
    base: str,
    output: Path | None,
    overrides: tuple[str, ...],
    processes: int | None,
    deepspeed: Path | None,
) -> None:
    """Train the adapter on the sequences of a run FOLDER, or continue where it was stopped."""
    from corpus.adapter.training.launch import training_of
    from corpus.adapter.training_sequences import require_fresh
    from corpus.run.run_folder import RunFolder
    from flows.services.prefect_server import prefect_api
    from schemas.orders import AdapterOrder

    order = AdapterOrder(
        run_dir=folder,
        base=base,
        output=output,
        overrides=overrides,
        processes=processes,
        deepspeed=deepspeed,
    )
    training, _ = training_of(order)
    require_fresh(RunFolder(folder))
    click.echo(
        f"An adapter of {base} on {training.sequences}, {training.processes} at work", err=True
    )
    with prefect_api():
        from flows.adapter import train_adapter

        trained = train_adapter(order)
    loss = trained.losses["eval_loss"]
    click.echo(f"Done: eval loss {loss:.4f}, the best at step {trained.best_step:,}.", err=True)
    click.echo(training.output)
