"""The commands that lead from a corpus to an adapter."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flows.cli.common import FOLDER, WrittenPath
from flows.cli.common import say as tell
from schemas.names import MOST_NEW_TOKENS, TEMPERATURE

if TYPE_CHECKING:  # PyTorch takes seconds to import: when a command needs it
    from corpus.adapter.inference.speech_system import Parts

Command = TypeVar("Command", bound=Callable[..., Any])

SPEECH_TOKENIZER = click.option(
    "--speech-tokenizer",
    required=True,
    metavar="DIR_OR_ID",
    help="The speech tokenizer of GLM-4-Voice: a folder, or THUDM/glm-4-voice-tokenizer.",
)


def system_options(command: Command) -> Command:
    """The checkpoints of a system that answers."""
    options = (
        click.option(
            "--base",
            required=True,
            metavar="DIR_OR_ID",
            help="The base model: a folder, or THUDM/glm-4-voice-9b.",
        ),
        SPEECH_TOKENIZER,
        click.option(
            "--decoder",
            required=True,
            metavar="DIR_OR_ID",
            help="The speech decoder of GLM-4-Voice: a folder, or THUDM/glm-4-voice-decoder.",
        ),
        click.option(
            "--adapter",
            metavar="DIR_OR_ID",
            help="What was trained: a folder, or a name on the Hub. The base alone if not given.",
        ),
        click.option(
            "--device",
            help="Where it runs: cpu, or cuda:0. The first GPU, or the CPU, if not given.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def parts_of(
    base: str, speech_tokenizer: str, decoder: str, adapter: str | None, device: str | None
) -> "Parts":
    """The checkpoints that were named."""
    from corpus.adapter.devices import devices_here
    from corpus.adapter.inference.speech_system import Parts

    return Parts(base, speech_tokenizer, decoder, adapter, device or devices_here()[0])


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
    tell(f"Speech tokens by {speech_tokenizer} {where_encoded(folder, devices)}")
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


@click.command()
@click.argument("clip", type=WrittenPath(path_type=Path, exists=True, dir_okay=False))
@system_options
@click.option("--affect", metavar="V,A", help="Valence and arousal, each from -1 to 1: -0.6,0.3")
@click.option("--emotion", metavar="NAME", help="An anchor, or a label that stands for one.")
@click.option(
    "--probabilities",
    metavar="JSON",
    help='What a classifier of emotions believes: {"sad": 0.7, "tired": 0.3}.',
)
@click.option(
    "--output",
    type=WrittenPath(path_type=Path, dir_okay=False),
    default="reply.wav",
    show_default=True,
    help="Where the sound goes.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
def say(
    clip: Path,
    affect: str | None,
    emotion: str | None,
    probabilities: str | None,
    output: Path,
    seed: int,
    base: str,
    speech_tokenizer: str,
    decoder: str,
    adapter: str | None,
    device: str | None,
) -> None:
    """Answer the question in CLIP: words on standard output, sound in --output.

    Without --affect, --emotion or --probabilities the model is not told how the user feels.
    """
    from corpus.adapter.inference.told_affect import affect_as_given

    point = affect_as_given(affect, emotion, probabilities)
    from corpus.adapter.inference.replies import MEANINGS, OK
    from corpus.adapter.inference.speech_system import SpeechSystem, require_question
    from corpus.errors import SympatheiaError
    from corpus.sound.clip_audio import encode_wav
    from corpus.store.files import write_whole

    sound = clip.read_bytes()
    require_question(sound)
    named = parts_of(base, speech_tokenizer, decoder, adapter, device)
    answer = SpeechSystem.from_pretrained(named).answer(sound, point, seed)
    reply = answer.reply
    click.echo(reply.text)
    if answer.wave is None:
        raise SympatheiaError(
            f"There is no sound: {reply.status}, {MEANINGS[reply.status]}. Ask with another --seed."
        )
    write_whole(output, encode_wav(answer.wave, answer.sampling_rate))
    if reply.status != OK:
        tell(f"{reply.status}: {MEANINGS[reply.status]}.")
    told = "not told" if point is None else f"valence {point[0]:+.2f}, arousal {point[1]:+.2f}"
    tell(f"{output}: {len(answer.wave) / answer.sampling_rate:.1f} s, affect {told}")


@click.command()
@FOLDER
@system_options
@click.option(
    "--output",
    required=True,
    type=WrittenPath(path_type=Path, file_okay=False),
    help="The responses folder; continued if it is there.",
)
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    type=click.Choice(["affect", "none", "bare"]),
    help="What the model is told of feelings: the target's point; that it is not told, as trained; "
    "nothing at all. Several may be given; affect if none is.",
)
@click.option(
    "--noise",
    multiple=True,
    type=float,
    metavar="SIGMA",
    help="The point with noise of this standard deviation on both axes, a condition of its own.",
)
@click.option(
    "--scale",
    "scales",
    multiple=True,
    type=float,
    metavar="R",
    help="The point drawn to the middle of the plane by this factor, a condition of its own.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "eval"]),
    default="eval",
    show_default=True,
    help="Whose queries are answered.",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="At most N pairs, evenly spread."
)
@click.option(
    "--endpoint",
    "endpoints",
    multiple=True,
    metavar="URL",
    help="A vLLM server that writes, as http://host:8000/v1; several share the work.",
)
@click.option(
    "--served-model", metavar="NAME", help="What the servers call the model, if they have several."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option(
    "--temperature",
    type=click.FloatRange(0, 2),
    default=TEMPERATURE,
    show_default=True,
    help="0 takes the likeliest token each time.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(1, 8192),
    default=MOST_NEW_TOKENS,
    show_default=True,
    help="Where a response is cut off.",
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    help="Responses written together; 32 on a GPU and 1 on a CPU if not given.",
)
def respond(folder: Path, **asked: Any) -> None:  # noqa: ANN401  (the order sees to them)
    """Have a system answer the queries of a run or dataset FOLDER.

    What is made is kept: after a kill the same command goes on where it was.
    """
    from flows.services.prefect_server import prefect_api
    from schemas.orders import ResponsesOrder

    order = ResponsesOrder(corpus=folder, **asked)
    with prefect_api():
        from flows.adapter import answer_queries

        counts = answer_queries(order)
    tell(f"Done: {sum(counts.values()):,} responses, {counts.get('ok', 0):,} of them ok.")
    click.echo(order.output)
