"""What goes on running: `serve`, each of our servers, and `deploy`, the flows at Prefect's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from flows.cli.adapter import parts_of, system_options
from flows.cli.common import WrittenPath, say
from schemas.names import DEPLOYMENT

Command = TypeVar("Command", bound=Callable[..., Any])

HOST = click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 lets other machines in.",
)


def _port(default: int) -> Callable[[Command], Command]:
    return click.option(
        "--port",
        type=click.IntRange(1, 65535),
        default=default,
        show_default=True,
        help="Port to listen on.",
    )


@click.group(
    epilog="For a corpus worth training on, serve the text model with vLLM, name its address in "
    "llm.endpoints, or let a build start it (llm.vllm.start):\n\n"
    "\b\n"
    "vllm serve Qwen/Qwen3-32B --port 8000 --reasoning-parser qwen3 \\\n"
    "    --enable-prefix-caching --tensor-parallel-size 2"
)
def serve() -> None:
    """Run one of the servers that the pipeline can use, or the one that answers with an adapter."""


@serve.command("text")
@_port(8000)
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
@HOST
@_port(8091)
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
@HOST
@_port(8091)
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Most requests spoken together; 1 makes each repeatable by its seed.",
)
@click.option("--name", default="", help="What requests call the model; as it is called here.")
@click.option(
    "--python",
    type=WrittenPath(path_type=Path),
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


@serve.command("adapter")
@system_options
@HOST
@_port(8100)
@click.option(
    "--corpus",
    type=WrittenPath(path_type=Path, exists=True, file_okay=False),
    help="A run or dataset folder: the page offers some of its eval queries, and its emotions.",
)
def serve_adapter(
    base: str,
    speech_tokenizer: str,
    decoder: str,
    adapter: str | None,
    device: str | None,
    host: str,
    port: int,
    corpus: Path | None,
) -> None:
    """Serve speech to speech at /v1/chat/completions, and a page to talk to it.

    Without --adapter the base alone answers. Nothing that is asked or answered is kept.
    """
    from corpus.adapter.inference import chat_server

    parts = parts_of(base, speech_tokenizer, decoder, adapter, device)
    at = f"[{host}]" if ":" in host else host
    say(f"Loading on {parts.device}")
    page = f"Ready: open http://{at}:{port}/ in a browser; Ctrl-C ends it."
    chat_server.serve(parts, host, port, corpus, lambda: say(page))


@click.command()
@click.option("--pool", default=DEPLOYMENT, show_default=True, help="The work pool that runs them.")
@click.option(
    "--gpu-pool",
    help="The work pool that runs the adapter's training; that of --pool if not given.",
)
def deploy(pool: str, gpu_pool: str | None) -> None:
    """Register the flows with the Prefect server at PREFECT_API_URL, which is waited for.

    A work pool that is not there is made, for workers that start processes.
    """
    from flows.deployments import register

    register(pool, gpu_pool or pool)
