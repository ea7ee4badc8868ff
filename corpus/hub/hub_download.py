"""Fetching: a dataset of the Hugging Face Hub as a folder, at the newest commit or at a tag.

The hub's own cache keeps it (HF_HOME), so it is fetched once, and a fetch that broke off goes on.
"""

import re
from pathlib import Path

import huggingface_hub as hub
from huggingface_hub.errors import (
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from corpus.errors import InvalidInput
from corpus.hub.hub_client import (
    MAIN,
    find_token,
    hub_api,
    require_repo_id,
    require_tag_name,
    tags_of,
)
from corpus.hub.hub_errors import in_words

DATASET = "dataset"
MOST_TAGS_TOLD = 20

_NAME = re.compile(r"[\w.-]+/[\w.-]+(@.*)?")


def is_hub_name(text: str) -> bool:
    """Whether a text reads as `NAMESPACE/NAME` or `NAMESPACE/NAME@TAG`."""
    return bool(_NAME.fullmatch(text)) and not text.startswith((".", "/"))


def fetch_dataset(name: str) -> Path:
    """The files of a dataset on the Hub; the last part of the path is the commit.

    Args:
        name: `NAMESPACE/NAME@TAG`; without a tag the newest commit is meant. A commit may stand
            for a tag.

    Raises:
        InvalidInput: the name is malformed, or there is no such dataset or no such tag.
        SympatheiaError: the Hub refuses, fails or cannot be reached; the next call goes on.
    """
    repo_id, at, tag = name.partition("@")
    require_repo_id(repo_id, "The dataset")
    if at and tag != MAIN:
        require_tag_name(tag, "The tag")
    find_token()  # a garbled one is told before the client repeats it
    with in_words(f"Fetching the dataset {name}", repo_id):
        api = hub_api(token=None)
        commit = _commit(api, repo_id, tag or MAIN)
        # By its name first, which the cache remembers for when the Hub is out of reach.
        found = Path(api.snapshot_download(repo_id, repo_type=DATASET, revision=tag or MAIN))
        if commit is not None and found.name != commit:
            found = Path(api.snapshot_download(repo_id, repo_type=DATASET, revision=commit))
    return found


def _commit(api: hub.HfApi, repo_id: str, revision: str) -> str | None:
    """What a revision means now; None where nobody is to be asked.

    The client by itself would take what it knows of main for main, if the Hub fails.
    """
    try:
        return str(api.repo_info(repo_id, repo_type=DATASET, revision=revision).sha)
    except OfflineModeIsEnabled:
        return None
    except RepositoryNotFoundError:
        raise InvalidInput(
            f"There is no dataset '{repo_id}' at {hub.constants.ENDPOINT}, or it is private or "
            "gated, and this token, if there is one, may not read it; nor is there such a folder "
            "here. Check the name, and HF_TOKEN."
        ) from None
    except RevisionNotFoundError:
        tags = list(tags_of(api, repo_id, DATASET))
        told = f"It has {', '.join(tags[:MOST_TAGS_TOLD])}" if tags else "It has none"
        more = f" and {len(tags) - MOST_TAGS_TOLD:,} more" if len(tags) > MOST_TAGS_TOLD else ""
        raise InvalidInput(
            f"The dataset '{repo_id}' at {hub.constants.ENDPOINT} has no tag '{revision}'. "
            f"{told}{more}; without @{revision} its newest commit is taken."
        ) from None
