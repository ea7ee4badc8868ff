"""What the Hugging Face Hub's client raises, as sentences for one who publishes or fetches.

Each says what was being done, why it failed and what to do about it, and none repeats a token.
"""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import huggingface_hub as hub
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    OIDCError,
)

from corpus.errors import SympatheiaError

# What the Hub's statuses mean, and what to do about it.
_REFUSALS = {
    (401,): (
        "the token is not accepted",
        "Set HF_TOKEN to a valid token that may write, or log in with 'hf auth login'",
    ),
    (402, 413, 507): (
        "there is no room left for it",
        "Free some storage of '{namespace}' there, or have its quota raised",
    ),
    (403,): (
        "the token may not do that",
        "Use a token that may write to '{namespace}', or another --repo-id",
    ),
    (404,): (
        "the Hub knows no such place",
        "See that '{namespace}' is your user name or an organization of yours",
    ),
    (409, 412): (
        "someone else is changing the repository",
        "Wait until that is done",
    ),
    (429,): (
        "the Hub has had too many requests",
        "Wait {wait}",
    ),
    (408, *range(500, 600)): (
        "the Hub failed, for a reason of its own",
        "Wait a few minutes",
    ),
}
_RAISED_BY_THE_CLIENT = (httpx2.HTTPError, OSError, RuntimeError, ValueError, KeyError, OIDCError)

_FULL = re.compile(r"quota|storage (limit|patterns)|storage.*(full|exceeded|reached)", re.I)
_UPLOADING = re.compile(r"Error while uploading '(.+)' to the Hub")


@contextmanager
def in_words(doing: str, repo_id: str = "") -> Iterator[None]:
    """Turns whatever the hub's client raises into a sentence.

    Raises:
        SympatheiaError: the block failed, other than for the disk.
    """
    try:
        yield
    except _RAISED_BY_THE_CLIENT as raised:
        error: BaseException = raised
        if (uploading := _UPLOADING.search(str(raised))) and raised.__cause__:
            doing, error = f"Uploading {uploading[1]} to {repo_id}", raised.__cause__
        if isinstance(raised, LocalEntryNotFoundError) and raised.__cause__:
            error = raised.__cause__  # why it had to look for a copy here
        if isinstance(error, OSError) and error.errno is not None:
            raise error from None  # a file of ours, not the Hub
        sentence = _sentence(error, doing, repo_id)
        # A server may repeat what it was sent, and a trace what the server said.
        token, trace = _token(), "".join(traceback.format_exception(raised))
        if token and token in trace:
            raise SympatheiaError(sentence.replace(token, "(the token)")) from None
        raise SympatheiaError(sentence) from raised


def _token() -> str | None:
    try:
        return hub.get_token()
    except OIDCError:  # that is what failed, so there is none
        return None


def _sentence(error: BaseException, doing: str, repo_id: str) -> str:
    reason, remedy = _refusal(error) or _trouble(error)
    remedy = remedy.format(namespace=repo_id.partition("/")[0], wait=_wait(error))
    return (
        f"{doing} failed at {hub.constants.ENDPOINT}: {reason}. {remedy}, and run the same command "
        "again: it goes on from there."
    )


def _refusal(error: BaseException) -> tuple[str, str] | None:
    """Reason and remedy of an answer that says no; nothing if it is not one."""
    said = " ".join(str(getattr(error, "server_message", None) or "").split())[:300]
    if isinstance(error, HfHubHTTPError):
        status, method = error.response.status_code, error.response.request.method
    else:
        # hf_xet, and objects refused one by one, have the Hub's answer in their text alone.
        found = re.search(r"\b([45]\d\d) [A-Z]", str(error))
        status, method = int(found[1]) if found else 0, ""
        said = said or " ".join(str(error).split())[:300]
    if status in (0, 400, 403, 422) and _FULL.search(said):
        return f"there is no room left for it ({said})", _REFUSALS[402, 413, 507][1]
    if not status or isinstance(error, httpx2.TransportError):
        return None
    said = f"{status}: {said}" if said else str(status)
    if method == "PUT" and status == 403:
        return f"the permission to store it has run out ({said})", "Check the clock of this machine"
    for statuses, (reason, remedy) in _REFUSALS.items():
        if status in statuses:
            return f"{reason} ({said})", remedy
    return f"the Hub refuses it ({said})", "Mend that"


def _trouble(error: BaseException) -> tuple[str, str]:
    """Reason and remedy of what went wrong on the way to the Hub, or with its answer."""
    said = " ".join(str(error).split())[:300]
    match error:
        case OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set", "Unset it"
        case LocalTokenNotFoundError() | OIDCError():
            return f"there is no token ({said})", "Set HF_TOKEN, or log in with 'hf auth login'"
        case httpx2.ConnectError() | httpx2.ConnectTimeout():
            return f"it cannot be reached ({said})", "Check the network and HF_ENDPOINT"
        case httpx2.TimeoutException():
            return "there was no answer", "See whether the Hub is up"
        case httpx2.HTTPError() | ConnectionError() | TimeoutError():
            return f"the connection broke off ({said})", "Check the network"
        case ValueError() if "Invalid metadata" in said:
            return f"the Hub refuses the card ({said})", "Mend README.md"
    name = type(error).__name__
    return f"the answer was none of a Hub ({name}: {said})", "Check HF_ENDPOINT and the network"


def _wait(error: BaseException) -> str:
    headers = error.response.headers if isinstance(error, HfHubHTTPError) else {}
    limit = re.search(r"\bt=(\d+)", headers.get("ratelimit", ""))
    seconds = limit[1] if limit else headers.get("retry-after", "")
    return f"{seconds} s" if seconds.isdigit() else "a few minutes"
