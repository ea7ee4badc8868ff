"""The whole line at test size: recipes against a local server, stages without Prefect, runs as
processes that can be killed."""

import asyncio
import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from corpus.dataset.shard_writer import write_corpus
from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.plan.prompt_files import BUNDLED
from corpus.plan.recipe_files import load_recipe, recipe_prompts
from corpus.plan.slot_layout import Plan
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.servers.endpoint_pool import Endpoints, Open
from corpus.speech.builtin_voice import BuiltinVoice
from corpus.speech.speech_stage import speak_all
from corpus.store.digest_store import Store
from corpus.store.opening import open_store
from corpus.text.text_stage import write_texts

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

[speech]
backend = "builtin"
query_voice = "wren"
response_voice = "heron"
"""


def write_recipe(path: Path, url: str, anchors=("sad", "angry", "tired")) -> Path:
    path.write_text(RECIPE.format(url=url, anchors=list(anchors)))
    return path


def opened(pool: Endpoints) -> Open:
    """A pool that is open already, as one that is opened when it is needed."""

    async def give() -> Endpoints:
        return pool

    return give


@cache
def _embedder(model: str) -> EmbeddingProcess:
    """One for all tests of a session: each would take seconds to start."""
    return EmbeddingProcess(model)


def write_run(folder: Path, recipe: Path, *overrides: str, with_responses=True) -> RunFolder:
    """The text stage of a run, in this process and without Prefect."""
    loaded = load_recipe(str(recipe), overrides)
    prompts = recipe_prompts(loaded)
    run = RunFolder(folder)
    progress = Progress(None)
    plan = Plan(loaded, prompts)
    for stage in ("queries", "responses"):
        progress.begin(stage, {})

    async def texts(store: Store) -> None:
        llm = loaded.llm
        pool = Endpoints(
            llm.endpoints,
            api_key_env=llm.api_key_env,
            timeout_seconds=llm.timeout_seconds,
            patience_seconds=llm.patience_seconds,
        )
        async with pool:
            embedder = _embedder(loaded.dedup.model)
            await write_texts(
                run,
                loaded,
                prompts,
                store,
                opened(pool),
                embedder,
                progress,
                with_responses=with_responses,
            )

    with run.locked(), open_store(run.store, loaded.storage.url) as store:
        run.adopt(loaded, prompts)
        asyncio.run(texts(store))
    assert plan.query_count
    return run


def speak_and_pack(run: RunFolder) -> None:
    """The speech and shards stages of a run whose texts are written, without Prefect."""
    recipe = run.read_recipe()
    prompts = recipe_prompts(recipe)
    plan = Plan(recipe, prompts)
    progress = Progress(None)
    for stage in ("speech", "shards"):
        progress.begin(stage, {})
    with open_store(run.store, recipe.storage.url) as store:
        with BuiltinVoice(recipe.speech) as voice:
            asyncio.run(speak_all(run, recipe.speech, plan, prompts, store, voice, progress))
        write_corpus(run, recipe, prompts, store, BuiltinVoice.model, progress)


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
