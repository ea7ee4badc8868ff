"""The publish-adapter flow: from an adapter folder to a repository of the Hugging Face Hub."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from corpus.adapter.publishing import publication_of, require_whole
from flows.publish import Published, send


@flow(name="publish-adapter", flow_run_name="{repo_id}", validate_parameters=False)
def publish_adapter(folder: Path, repo_id: str, private: bool = False) -> Published:
    """Publishes an adapter folder that is whole.

    Raises:
        InvalidInput: the repository's name is malformed, or the folder is no adapter.
        SympatheiaError: the adapter is not fit to be used, or the Hub fails; the next call goes on
            from there.
    """
    check(folder)
    return send(publication_of(folder, repo_id, private=private))


@task(cache_policy=NO_CACHE, persist_result=False)
def check(folder: Path) -> None:
    """Sees that an adapter is whole."""
    require_whole(folder)
