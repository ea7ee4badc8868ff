"""The responses flow: a system answers the queries of a corpus."""

import click
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from corpus.adapter.inference.replies import MEANINGS, OK
from corpus.adapter.inference.responses import TABLE, respond
from corpus.run.progress import Progress
from flows.artifacts import leave_link
from flows.display import shown
from flows.sentences import fails_in_words
from schemas.orders import ResponsesOrder


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
