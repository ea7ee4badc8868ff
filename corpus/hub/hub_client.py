"""The Hub's own client as this project uses it, and the names that it is given.

The token comes from HF_TOKEN or the hub's own login; nothing here keeps, prints or logs it.
"""

import logging
import re
import sys

import httpx2
import huggingface_hub as hub
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported, but not to mypy
    disable_progress_bars,
    validate_repo_id,
)

from corpus.errors import InvalidInput, SympatheiaError
from corpus.hub.hub_errors import in_words
from corpus.servers.proxies import require_way
from schemas.names import TAG

SILENCE_SECONDS = 300.0
"""How long the Hub may say nothing; its client by itself would wait for ever."""
CONNECT_SECONDS = 30.0
MAIN = "main"
"""The branch of a repository that holds its newest commit; every repository of the Hub has it."""


def hub_api(*, token: bool | None = True) -> hub.HfApi:
    """The client, with a limit to its patience and its log fit to be read.

    Args:
        token: True if there has to be one; None if one is used where it is there.
    """
    require_way(hub.constants.ENDPOINT)
    hub.get_session().timeout = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    if not sys.stderr.isatty():
        disable_progress_bars()
    its_log = logging.getLogger("huggingface_hub")
    its_log.propagate = False  # Prefect's handler would say everything again
    for handler in its_log.handlers:
        handler.addFilter(_without_signatures)
    # It looks for the token with each call, and keeps none.
    return hub.HfApi(token=token, library_name="sympatheia")


def _without_signatures(record: logging.LogRecord) -> bool:
    """Cuts addresses short: those of the storage carry a permission to write, very long."""
    record.msg, record.args = re.sub(r"\?\S+", "", record.getMessage()), ()
    return True


def find_token() -> str | None:
    """The token that would be sent; None if there is none.

    Raises:
        SympatheiaError: it is garbled, or a login that should give one fails.
    """
    with in_words("Looking for a token"):
        token = hub.get_token()
    # The client would repeat a token that makes no header in its complaint.
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise SympatheiaError(
            "The token for the Hub has characters in it that no token has. Set HF_TOKEN anew, or "
            "log in with 'hf auth login', and run the same command again."
        )
    return token


def require_repo_id(repo_id: str, named_by: str) -> None:
    """Passes if a name can be that of a repository, its namespace before it.

    Args:
        repo_id: the name.
        named_by: the option or argument that it comes from, for the error.

    Raises:
        InvalidInput: it cannot.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InvalidInput(f"{named_by} '{repo_id}' names no repository. {error}") from None
    if "/" not in repo_id:
        raise InvalidInput(
            f"{named_by} '{repo_id}' names no repository. Put your user name or your "
            f"organization before it: NAMESPACE/{repo_id}."
        )


def require_tag_name(tag: str, named_by: str) -> None:
    """Passes if a tag can have this name.

    Args:
        tag: the name.
        named_by: the option or argument that it comes from, for the error.

    Raises:
        InvalidInput: git would not take it, or the newest commit goes by it.
    """
    if not re.fullmatch(TAG, tag) or ".." in tag or tag.endswith((".", ".lock")):
        raise InvalidInput(
            f"{named_by} {tag!a} is no name for a tag. Use letters, digits, dots, hyphens and "
            "underscores, as in v1.2."
        )
    if tag == MAIN:
        raise InvalidInput(
            f"{named_by} '{MAIN}' is what the newest commit is called. Use another name, as v1.2."
        )


def tags_of(api: hub.HfApi, repo_id: str, repo_type: str) -> dict[str, str]:
    """The tags of a repository with the commit that each marks."""
    refs = api.list_repo_refs(repo_id, repo_type=repo_type)
    return {tag.name: tag.target_commit for tag in refs.tags}
