"""The publish-adapter flow: from an adapter folder to a repository of the Hugging Face Hub."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from corpus.adapter.handover.adapter_folder import find_adapter
from corpus.adapter.handover.adapter_upload import publication_of, require_whole
from corpus.hub.hub_upload import require_token
from flows.publish import Published, send
from flows.sentences import fails_in_words
from schemas.orders import PublishOrder


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
    check(folder)
    return send(publication)


@task(cache_policy=NO_CACHE, persist_result=False)
def check(folder: Path) -> None:
    """Sees that an adapter is whole."""
    require_whole(folder)
