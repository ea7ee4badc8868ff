"""The commands that hand a corpus or an adapter on."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.common import FOLDER, WrittenPath, say

if TYPE_CHECKING:  # imported where they are used, so that help and refusals come at once
    from flows.publish import Published

REPO_ID = click.option("--repo-id", required=True, metavar="NAMESPACE/NAME", help="The repository.")
PRIVATE = click.option("--private", is_flag=True, help="Make it private, if it is not there yet.")
TAG = click.option(
    "--tag",
    metavar="NAME",
    help="Name this version, as v1.2; a name stays at what it was given to.",
)
DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Show files, sizes and card, and send nothing."
)


@click.command()
@FOLDER
@REPO_ID
@PRIVATE
@TAG
@DRY_RUN
def publish(folder: Path, repo_id: str, private: bool, tag: str | None, dry_run: bool) -> None:
    """Publish the dataset of a run or dataset FOLDER on the Hugging Face Hub, once it is checked.

    The token is the one in HF_TOKEN, or that of 'hf auth login'. Publishing again sends what has
    changed, and goes on where a failed call stopped.
    """
    from corpus.hub.hub_upload import Publication, find_dataset, require_token
    from flows.services.prefect_server import prefect_api
    from schemas.orders import PublishOrder

    publication = Publication(find_dataset(folder), repo_id, private=private, tag=tag)
    if dry_run:
        click.echo(publication.listing())
        say(f"Nothing was sent to {publication.url}, and the quality gates were not checked.")
        return
    require_token()
    say(f"{publication.folder}: {len(publication.files):,} files for {publication.url}")
    order = PublishOrder(folder=publication.folder, repo_id=repo_id, private=private, tag=tag)
    with prefect_api():
        from flows.publish import publish_dataset

        published = publish_dataset(order)
    _tell(published)


@click.command("publish-adapter")
@FOLDER
@REPO_ID
@PRIVATE
@TAG
@DRY_RUN
def publish_adapter(
    folder: Path, repo_id: str, private: bool, tag: str | None, dry_run: bool
) -> None:
    """Publish the adapter of a run or adapter FOLDER on the Hugging Face Hub, once it is checked.

    Its configuration, weights, card and training facts are sent, and nothing else of the folder.
    Tokens and calls after a failed one are as with publish.
    """
    from corpus.adapter.handover.adapter_folder import find_adapter
    from corpus.adapter.handover.adapter_upload import publication_of, require_whole
    from corpus.hub.hub_upload import require_token
    from flows.services.prefect_server import prefect_api
    from schemas.orders import PublishOrder

    publication = publication_of(find_adapter(folder), repo_id, private=private, tag=tag)
    if dry_run:
        require_whole(publication.folder)
        click.echo(publication.listing())
        say(f"Nothing was sent to {publication.url}.")
        return
    require_token()
    say(f"{publication.folder}: {len(publication.files):,} files for {publication.url}")
    order = PublishOrder(folder=publication.folder, repo_id=repo_id, private=private, tag=tag)
    with prefect_api():
        from flows.publish_adapter import publish_adapter as publish_flow

        published = publish_flow(order)
    _tell(published)


@click.command("convert-adapter")
@FOLDER
@click.argument("output", type=WrittenPath(path_type=Path, file_okay=False))
@click.option(
    "--base",
    required=True,
    metavar="DIR_OR_ID",
    help="The base model; its configuration alone is read, unless it is merged.",
)
@click.option(
    "--merge",
    "merged",
    is_flag=True,
    help="Write base and adapter as one model under the published names, as large as the base.",
)
def convert_adapter(folder: Path, output: Path, base: str, merged: bool) -> None:
    """Write the adapter of a run or adapter FOLDER for transformers' own GLM, into OUTPUT.

    It does exactly the same there, under the names that engines other than this pipeline know.
    """
    if merged:
        from corpus.adapter.handover.merged_weights import merge

        merge(folder, output, base)
        click.echo(output)
        return
    from corpus.adapter.handover.adapter_folder import find_adapter
    from corpus.adapter.handover.native_names import read_base_config, to_native

    to_native(find_adapter(folder), output, read_base_config(base))
    click.echo(output)


def _tell(published: "Published") -> None:
    done = "Published and verified" if published.changed else "Verified; there was nothing to send"
    marked = f", marked by the tag {published.tag}" if published.tag else ""
    say(f"{done}: commit {published.commit}{marked}.")
    click.echo(published.url)
