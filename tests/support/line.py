"""The whole line at test size: recipes against a local server, stages without Prefect, runs as
processes that can be killed."""

import asyncio
import hashlib
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from corpus.dataset.shard_writer import write_corpus
from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import BUNDLED
from corpus.run.open_run import OpenRun
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.servers.retry_and_failover import Endpoints, Open
from corpus.speech.builtin_voice import BuiltinVoice
from corpus.speech.clip_requests import Clip, ClipRequest
from corpus.speech.speech_stage import speak_all
from corpus.store.files import write_whole
from corpus.store.opening import open_store
from corpus.text.text_stage import write_texts
from flows import work
from flows.cli.main import main
from schemas.names import STAGES

SYMPATHEIA = Path(sys.executable).with_name("sympatheia")

RECIPE = """
name = "small"
seed = 3
anchors = {anchors}

[emotional]
pairs_per_anchor = 4

[neutral]
queries = 3

[llm]
endpoints = ["{url}"]
model = "fake"
concurrency = 16
timeout_seconds = 3
patience_seconds = 20

# The local servers say good sentences about anything but what they are asked.
[text.rules]
off_topic = false

[speech]
backend = "builtin"
query_voice = "wren"
response_voice = "heron"
"""


GRIDDED_ANCHORS = ("sad", "angry", "excited")
GRIDDED = ("emotional.pairs_per_anchor=2", "neutral.queries=1", "grid.queries=2", "grid.points=3")
"""Of the run `gridded`."""


SPOKEN_ANCHORS = ("angry", "frustrated", "relaxed", "sad", "content")
SPOKEN = (
    "emotional.pairs_per_anchor=0",
    "neutral.queries=0",
    "dialogue.dialogues=4",
    "dialogue.turns=[2, 3]",
    'dialogue.delivery="trajectory"',
)
"""Of the run `spoken`."""


def write_recipe(path: Path, url: str, anchors=("sad", "angry", "tired")) -> Path:
    path.write_text(RECIPE.format(url=url, anchors=list(anchors)))
    return path


def opened(pool: Endpoints) -> Open:
    """A pool that is open already, as one that is opened when it is needed."""

    async def give() -> Endpoints:
        return pool

    return give


@cache
def shared_embedder(model: str) -> EmbeddingProcess:
    """One for all tests of a session: each would take seconds to start."""
    return EmbeddingProcess(model)


@contextmanager
def embedding_once() -> Iterator[None]:
    """One process that embeds for all builds of this process: each would take seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        shared = lambda model, _: nullcontext(shared_embedder(model))  # noqa: E731
        patch.setattr(work, "EmbeddingProcess", shared)
        yield


def write_run(
    folder: Path,
    recipe: Path | Blueprint,
    *overrides: str,
    with_responses=True,
    progress=None,
) -> RunFolder:
    """The text stage of a run, in this process and without Prefect."""
    run = RunFolder(folder)
    resolved = isinstance(recipe, Blueprint)
    blueprint = recipe if resolved else Blueprint.named(str(recipe), overrides)
    recipe = blueprint.recipe

    async def texts(opened_run: OpenRun) -> None:
        pool = Endpoints(
            recipe.llm.endpoints,
            api_key_env=recipe.llm.api_key_env,
            timeout_seconds=recipe.llm.timeout_seconds,
            patience_seconds=recipe.llm.patience_seconds,
        )
        async with pool:
            embedder = shared_embedder(recipe.dedup.model)
            await write_texts(opened_run, opened(pool), embedder, with_responses=with_responses)

    with run.locked():
        blueprint = run.adopt(blueprint)
        with open_run(run, blueprint, progress=progress) as opened_run:
            asyncio.run(texts(opened_run))
    return run


@contextmanager
def open_run(
    run: RunFolder,
    blueprint: Blueprint | None = None,
    store: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[OpenRun]:
    """A run for a stage to work on, without Prefect, with its own store or another's."""
    blueprint = blueprint or run.blueprint()
    progress = progress or Progress(None)
    for stage in STAGES[1:]:
        progress.begin(stage, {})
    with open_store(store or run.store, blueprint.recipe.storage.url) as opened_store:
        yield OpenRun(blueprint, run, opened_store, progress)


class RememberingVoice(BuiltinVoice):
    """The builtin voice, which speaks a clip once for all tests of a session.

    It says a thing alike whenever it says it (test_builtin_synthesis.py), so nothing is lost.
    """

    async def speak(self, request: ClipRequest, what: str) -> Clip:
        path = Path(os.environ["TESTS_SHARE"]) / "clips" / request.digest()
        if path.exists():
            return pickle.loads(path.read_bytes())
        clip = await super().speak(request, what)
        write_whole(path, pickle.dumps(clip))
        return clip


def speak_and_pack(run: RunFolder) -> None:
    """The speech and shards stages of a run whose texts are written, without Prefect."""
    with open_run(run) as opened_run:
        with RememberingVoice(opened_run.blueprint.recipe.speech) as voice:
            asyncio.run(speak_all(opened_run, voice))
        write_corpus(opened_run)


def start(*arguments: object, log: Path) -> subprocess.Popen:
    """Starts the command line with its output in a file, so that nothing it leaves holds a pipe."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [SYMPATHEIA, *map(str, arguments)], stdout=file, stderr=file, env=dict(os.environ)
        )


def sympatheia(*arguments: object, timeout: float = 120, **env: str) -> subprocess.CompletedProcess:
    """Runs the command line to its end."""
    return subprocess.run(
        [SYMPATHEIA, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | env,
    )


def typed(*arguments: object) -> subprocess.CompletedProcess:
    """What the command line does with arguments, in this process: a hundred times as fast.

    For what starts no server and needs no environment of its own.
    """
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    given, surroundings = sys.argv, dict(os.environ)
    sys.argv = ["sympatheia", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv = given
        os.environ.clear()
        os.environ.update(surroundings)
    return subprocess.CompletedProcess(sys.argv, code or 0, out.getvalue(), err.getvalue())


def files_of(run: RunFolder) -> dict[str, str]:
    """The SHA-256 of every file that a run hands on."""
    paths = [path for path in run.corpus.rglob("*") if path.is_file()] + [run.rejects]
    return {
        str(path.relative_to(run.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def rows(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def texts_of(run: RunFolder) -> dict[str, str]:
    """Every accepted text by slot."""
    queries = {row["query_id"]: row["text"] for row in rows(run.queries)}
    return queries | {f"response {row['id']}": row["text"] for row in rows(run.responses)}


def copy_prompts(folder: Path, change=None) -> Path:
    """A copy of the bundled prompts folder whose anchors file went through `change`."""
    import shutil

    shutil.copytree(BUNDLED, folder)
    path = folder / "anchors.yaml"
    data = yaml.safe_load(path.read_text())
    if change:
        change(data)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return folder


def add_anchor(data: dict) -> None:
    """Adds a 13th anchor in the middle of the file."""
    proud = dict(data["anchors"][0])
    proud |= {"name": "proud", "valence": 0.7, "arousal": 0.5, "query_style": "Very proud"}
    proud |= {"feeling": "very proud of something they have just managed to do"}
    data["anchors"].insert(3, proud)
