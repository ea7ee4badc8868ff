"""The publish flow: from a folder to a repository of the Hugging Face Hub."""

from dataclasses import dataclass
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from corpus.publishing import Publication, require_gates


@dataclass(frozen=True, slots=True)
class Published:
    """What the Hub holds now, and whether this changed it."""

    url: str
    commit: str
    changed: bool


@flow(name="publish", flow_run_name="{repo_id}", validate_parameters=False)
def publish_dataset(folder: Path, repo_id: str, private: bool = False) -> Published:
    """Publishes a dataset folder that passes the quality gates.

    Raises:
        InvalidInput: the repository's name is malformed, or the folder is no dataset.
        SympatheiaError: a gate fails, or the Hub does; the next call goes on from there.
    """
    check(folder)
    return send(Publication(folder, repo_id, private=private))


def send(publication: Publication) -> Published:
    """The part of a flow that every kind of publication has in common.

    Raises:
        SympatheiaError: the Hub refuses or fails; the next call goes on from there.
    """
    before = create(publication)
    commit = upload(publication)
    verify(publication, commit)
    return Published(publication.url, commit, changed=commit != before)


# The Hub remembers what it has; Prefect need not.


@task(cache_policy=NO_CACHE, persist_result=False)
def check(folder: Path) -> None:
    """Has the folder pass the quality gates."""
    require_gates(folder)


@task(cache_policy=NO_CACHE, persist_result=False)
def create(publication: Publication) -> str:
    """Has a repository, new or old; gives its newest commit."""
    return publication.create()


@task(cache_policy=NO_CACHE, persist_result=False)
def upload(publication: Publication) -> str:
    """Sends what the Hub does not have; gives the newest commit."""
    return publication.upload()


@task(cache_policy=NO_CACHE, persist_result=False)
def verify(publication: Publication, commit: str) -> None:
    """Compares what the Hub lists with the folder."""
    publication.verify(commit)
