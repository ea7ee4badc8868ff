"""The flows of an adapter: its training, its publication, and the responses of its system."""

import time
from pathlib import Path
from uuid import UUID

import click
from prefect import flow, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from corpus.adapter.devices import why
from corpus.adapter.handover.adapter_card import AdapterFacts, write_adapter_card
from corpus.adapter.handover.adapter_folder import find_adapter, name_base
from corpus.adapter.handover.adapter_upload import publication_of, require_whole
from corpus.adapter.inference.replies import MEANINGS, OK
from corpus.adapter.inference.responses import respond
from corpus.adapter.inference.responses_folder import TABLE
from corpus.adapter.model import is_random
from corpus.adapter.training.launch import launch, training_of
from corpus.adapter.training.lora_training import TrainingOrder
from corpus.adapter.training.training_folder import Trained
from corpus.adapter.training_sequences import encode_corpus, require_fresh, where_encoded
from corpus.hub.hub_upload import CARD, require_token
from corpus.plan.recipe_files import recipe_prompts
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from flows.artifacts import fails_in_words, leave_link
from flows.display import duration, shown
from flows.publish import Published, send
from flows.training import require_deployment, start_responses
from schemas.orders import AdapterOrder, PublishOrder, ResponsesOrder
from schemas.recipe import Recipe
from schemas.slots import SPLITS

SAY_EVERY_SECONDS = 5.0


@flow(name="adapter", flow_run_name="adapter of {order.run_dir.name}")
@fails_in_words
def train_adapter(order: AdapterOrder) -> Trained:
    """Trains an adapter on the corpus of a run, or continues where a training of it was stopped.

    Args:
        order: what to train, and how. With a speech tokenizer the clips are encoded first.

    Raises:
        InvalidInput: the sequences, the base or the settings do not fit.
        SympatheiaError: the training died; the same call continues at the last save.
    """
    training, recipe = training_of(order)
    if order.then_respond:
        require_deployment(order.then_respond.deployment)
    if order.speech_tokenizer:
        encode(order.run_dir, order.speech_tokenizer)
    require_fresh(RunFolder(order.run_dir))
    trained = fit(training)
    describe(training, recipe, trained)
    if order.then_respond:
        start_responses(order.then_respond, order.run_dir, training.output)
    return trained


@task(cache_policy=NO_CACHE, persist_result=False)
def encode(run_dir: Path, speech_tokenizer: str) -> None:
    """Writes the training sequences of a run, on its Dask cluster or every GPU there is."""
    click.echo(f"Speech tokens by {speech_tokenizer} {where_encoded(run_dir)}", err=True)
    progress = Progress(None)
    with shown(progress):
        encode_corpus(run_dir, speech_tokenizer, progress=progress)


@task(cache_policy=NO_CACHE, persist_result=False)
def describe(order: TrainingOrder, recipe: Recipe, trained: Trained) -> None:
    """Writes the adapter's card."""
    settings = order.settings.model_dump(mode="json") | {"seed": order.seed}
    facts = AdapterFacts(
        name=f"{recipe.name} adapter",
        base=order.base,
        base_is_random=is_random(order.base),
        corpus=recipe.name,
        prompts_digest=recipe_prompts(recipe).digest,
        pairs={split: trained.data[split]["samples"] for split in SPLITS},
        settings=settings | {"processes": order.processes},
        steps=trained.best_step,
        losses=trained.losses,
    )
    write_adapter_card(order.output, facts)
    name_base(order.output, facts.base_model)
    leave_link(facts.name, "card", (order.output / CARD).resolve().as_uri())


@task(cache_policy=NO_CACHE, persist_result=False)
def fit(order: TrainingOrder) -> Trained:
    """Trains, and shows how far it is on the terminal and on Prefect's pages."""
    artifact = create_progress_artifact(0.0, key="adapter-progress", description=str(order.output))
    assert isinstance(artifact, UUID)  # outside an event loop it is not a coroutine
    told, last = 0.0, ""
    click.echo(f"Training, {order.processes} at work, {why()}", err=True)

    def report(figures: dict[str, float]) -> None:
        nonlocal told, last
        evaluated = "eval_loss" in figures
        if not evaluated and time.monotonic() - told < SAY_EVERY_SECONDS:
            return
        told = time.monotonic()
        line = progress_line(figures)
        if line == last:  # the best, evaluated once more at the end
            return
        last = line
        click.echo(line, err=True)
        update_progress_artifact(artifact, 100 * figures["step"] / figures["steps"], line)

    return launch(order, report)


def progress_line(figures: dict[str, float]) -> str:
    """One step's figures, as a person reads them."""
    parts = [f"step {figures['step']:,.0f} of {figures['steps']:,.0f}"]
    if "eval_loss" in figures:
        parts += [f"eval loss {figures['eval_loss']:.4f}"]
        parts += [f"perplexity {figures['eval_perplexity']:,.2f}"]
    if "loss" in figures:
        parts += [f"loss {figures['loss']:.4f}", f"{figures['tokens_per_second']:,.0f} tokens/s"]
        if "mfu" in figures:
            parts += [f"{figures['mfu']:.0%} of peak"]
        parts += [f"{duration(figures['seconds_left'])} left"]
    return ", ".join(parts)


@flow(name="responses", flow_run_name="responses in {order.output.name}")
@fails_in_words
def answer_queries(order: ResponsesOrder) -> dict[str, int]:
    """Has a base model, with an adapter or without, answer the queries of a corpus, or goes on.

    Args:
        order: which corpus, which system, under which conditions.

    Raises:
        InvalidInput: a part is not there, or the folder has another system's responses.
        SympatheiaError: the servers failed or memory ran out; the same call goes on.
    """
    return answer(order)


@task(cache_policy=NO_CACHE, persist_result=False)
def answer(order: ResponsesOrder) -> dict[str, int]:
    """Answers, shows how far it is, and says what went wrong with how many."""
    progress = Progress(None)
    with shown(progress):
        counts = respond(order, progress)
    for status, count in counts.items():
        if status != OK:
            click.echo(f"{count:,} {status}: {MEANINGS[status]}", err=True)
    table = (order.output / TABLE).resolve()
    leave_link("responses", "table", table.as_uri())
    return {str(status): count for status, count in counts.items()}


@flow(name="publish-adapter", flow_run_name="{order.repo_id}")
@fails_in_words
def publish_adapter(order: PublishOrder) -> Published:
    """Publishes an adapter that is whole on the Hugging Face Hub.

    Args:
        order: the folder, and the repository. The token is the worker's HF_TOKEN, or its login.

    Raises:
        InvalidInput: the name of the repository or of the tag is malformed, or the folder is no
            adapter.
        SympatheiaError: the adapter is not fit to be used, the tag marks something else, or the
            Hub fails; the next call goes on from there.
    """
    folder = find_adapter(order.folder)
    publication = publication_of(folder, order.repo_id, private=order.private, tag=order.tag)
    require_token()
    require_fit(folder)
    return send(publication)


@task(cache_policy=NO_CACHE, persist_result=False)
def require_fit(folder: Path) -> None:
    """Sees that an adapter is whole."""
    require_whole(folder)
