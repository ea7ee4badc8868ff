"""What `preview` prints: the prompts of an anchor, and sample pairs written for the occasion."""

import tempfile
from pathlib import Path

import click

from corpus.errors import InvalidInput
from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import Prompts
from corpus.plan.templates import Message
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import read_rows
from flows.work import at_work
from schemas.prompts import Anchor
from schemas.slots import EMOTIONAL

PLACEHOLDER = "(the query)"


def print_preview(blueprint: Blueprint, anchor: str, count: int) -> None:
    """Prints the prompts of an anchor, then `count` pairs made in a folder that is thrown away.

    Raises:
        InvalidInput: the recipe has no such anchor.
        SympatheiaError: the pairs cannot be written.
    """
    recipe, prompts, plan = blueprint.recipe, blueprint.prompts, blueprint.plan
    if anchor not in plan.anchors:
        raise InvalidInput(
            f"--anchor: '{anchor}' is not an anchor of this recipe; it has "
            f"{', '.join(plan.anchors)}."
        )
    _print_prompts(prompts, plan.anchors[anchor])
    if not count:
        return
    small = recipe.model_copy(
        update={
            "anchors": (anchor,),
            "annotate": recipe.annotate.model_copy(update={"empathy": False}),
            "emotional": recipe.emotional.model_copy(update={"pairs_per_anchor": count}),
            **{
                name: getattr(recipe, name).model_copy(update={room.size: 0})
                for name, room in plan.rooms.items()
                if name != EMOTIONAL
            },
        }
    )
    with tempfile.TemporaryDirectory(prefix="sympatheia-preview-") as folder:
        run = RunFolder(Path(folder))
        with at_work(run, Blueprint.of(small, prompts), "responses") as work:
            work.texts()
        queries = read_rows(run.queries)
        for query, response in zip(queries, read_rows(run.responses), strict=True):
            click.secho(f"\npair {query['query_id']} ({query['topic']})", bold=True)
            click.echo(f"query:    {query['text']}\nresponse: {response['text']}")


def _print_prompts(prompts: Prompts, anchor: Anchor) -> None:
    topic = prompts.topics[0]
    for title, messages in (
        ("query", prompts.emotional_query(anchor, topic)),
        ("response", prompts.emotional_response(anchor, PLACEHOLDER)),
        ("response to a neutral query", prompts.neutral_response(anchor, PLACEHOLDER)),
    ):
        click.secho(f"\nprompt for a {title}", bold=True)
        _print_messages(messages)


def _print_messages(messages: list[Message]) -> None:
    for message in messages:
        click.echo(f"[{message['role']}]\n{message['content']}\n")
