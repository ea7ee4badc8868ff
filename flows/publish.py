"""The publish flow: from a folder to a repository of the Hugging Face Hub."""

from dataclasses import dataclass
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from corpus.hub.hub_upload import Publication, find_dataset, require_gates, require_token
from flows.artifacts import fails_in_words, leave_link
from schemas.orders import PublishOrder


@dataclass(frozen=True, slots=True)
class Published:
    """What the Hub holds now, whether this changed it, and the tag that marks it, if one does."""

    url: str
    commit: str
    changed: bool
    tag: str | None


@flow(name="publish", flow_run_name="{order.repo_id}")
@fails_in_words
def publish_dataset(order: PublishOrder) -> Published:
    """Publishes a dataset that passes the quality gates on the Hugging Face Hub.

    Args:
        order: the folder, and the repository. The token is the worker's HF_TOKEN, or its login.

    Raises:
        InvalidInput: the name of the repository or of the tag is malformed, or the folder is no
            dataset.
        SympatheiaError: a gate fails, the tag marks something else, or the Hub fails; the next
            call goes on from there.
    """
    folder = find_dataset(order.folder)
    publication = Publication(folder, order.repo_id, private=order.private, tag=order.tag)
    require_token()
    check(folder)
    return send(publication)


def send(publication: Publication) -> Published:
    """The part of a flow that every kind of publication has in common.

    Raises:
        SympatheiaError: the tag marks something else, or the Hub refuses or fails; the next call
            goes on from there.
    """
    before = create(publication)
    commit = upload(publication)
    verify(publication, commit)
    mark(publication, commit)
    leave_link(publication.repo_id, publication.repo_type, publication.url)
    return Published(publication.url, commit, changed=commit != before, tag=publication.tag)


# The Hub remembers what it has; Prefect need not.


@task(cache_policy=NO_CACHE, persist_result=False)
def check(folder: Path) -> None:
    """Has the folder pass the quality gates."""
    require_gates(folder)


@task(cache_policy=NO_CACHE, persist_result=False)
def create(publication: Publication) -> str:
    """Has a repository, new or old, in which the tag is free; gives its newest commit."""
    newest = publication.create()
    publication.require_free_tag(newest)
    return newest


@task(cache_policy=NO_CACHE, persist_result=False)
def upload(publication: Publication) -> str:
    """Sends what the Hub does not have; gives the newest commit."""
    return publication.upload()


@task(cache_policy=NO_CACHE, persist_result=False)
def verify(publication: Publication, commit: str) -> None:
    """Compares what the Hub lists with the folder."""
    publication.verify(commit)


@task(cache_policy=NO_CACHE, persist_result=False)
def mark(publication: Publication, commit: str) -> None:
    """Has the tag, if there is to be one, mark the commit."""
    publication.mark(commit)
