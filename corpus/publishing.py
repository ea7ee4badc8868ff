"""Publishing: makes a repository of the Hugging Face Hub hold exactly the files of a folder.

`huggingface_hub` does the sending. It leaves out what the Hub has already, so a call after a failed
one goes on where that one stopped, and a call with nothing new to send makes no commit. This module
adds what it leaves to its caller: files of an earlier version go, what the Hub lists afterwards is
compared with the folder, and every failure is a sentence.

The token comes from HF_TOKEN or the hub's own login; nothing here keeps, prints or logs it.
"""

import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha1
from pathlib import Path
from typing import Literal

import httpx2
import huggingface_hub as hub
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    OIDCError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported, but not to mypy
    disable_progress_bars,
    validate_repo_id,
)

from corpus.errors import InvalidInput, SympatheiaError
from corpus.manifest import facts_of
from corpus.run_folder import RunFolder

CARD = "README.md"

HIDDEN = (".*", "*/.*")
"""Left by editors, downloads and version control; the Hub keeps a .gitattributes of its own."""

SILENCE_SECONDS = 300.0
"""How long the Hub may say nothing; its client by itself would wait for ever."""
CONNECT_SECONDS = 30.0

log = logging.getLogger(__name__)


def find_dataset(folder: Path) -> Path:
    """The dataset of a run folder, or the folder itself if it is a dataset.

    Raises:
        InvalidInput: there is no dataset in it.
        SympatheiaError: a build is at work on it.
    """
    for found in (RunFolder(folder).corpus, folder):
        if (found / CARD).is_file() and any(found.glob("data/**/*.parquet")):
            if RunFolder(found.parent).busy:
                raise SympatheiaError(
                    f"A build is at work in {found.parent}. Wait for it, and publish then."
                )
            return found
    raise InvalidInput(
        f"{folder} holds no dataset: neither it nor {RunFolder(folder).corpus} has a {CARD} and "
        "Parquet files under data/. 'sympatheia build' makes one."
    )


def require_gates(folder: Path) -> None:
    """Passes if the dataset passes every quality gate.

    Raises:
        InvalidInput: the folder holds no dataset of this format.
        SympatheiaError: a gate fails.
    """
    from corpus.check import check_folder  # models and all, which nothing else here needs

    failed = [gate.name for gate in check_folder(folder) if not gate.passed]
    if failed:
        raise SympatheiaError(
            f"{folder} does not pass {len(failed)} of the quality gates ({', '.join(failed)}), so "
            f"nothing was sent. 'sympatheia check {folder}' shows what is wrong."
        )


def require_token() -> None:
    """Passes if there is a token that can be sent.

    Raises:
        SympatheiaError: there is none, or it is garbled.
    """
    with _in_words("Looking for a token"):
        token = hub.get_token()
    if token is None:
        raise SympatheiaError(
            "There is no token for the Hub. Set HF_TOKEN to one that may write, or log in with "
            "'hf auth login', and run the same command again."
        )
    # The client would repeat a token that makes no header in its complaint.
    if not re.fullmatch(r"[!-~]+", token):
        raise SympatheiaError(
            "The token for the Hub has characters in it that no token has. Set HF_TOKEN anew, or "
            "log in with 'hf auth login', and run the same command again."
        )


@dataclass(frozen=True)
class Publication:
    """A folder, and the repository that is to hold it.

    `without` has the patterns of files that are not sent, `owned` those of files that are removed
    from the repository if the folder has them no longer; a `*` takes any number of folders.
    """

    folder: Path
    repo_id: str
    repo_type: Literal["dataset", "model"] = "dataset"
    private: bool = False
    message: str = "Publish the corpus"
    without: tuple[str, ...] = ()
    owned: tuple[str, ...] = ("data/*.parquet",)

    def __post_init__(self) -> None:
        """Refuses what cannot be published.

        Raises:
            InvalidInput: the repository's name is malformed, or the folder has no card.
        """
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise InvalidInput(f"--repo-id '{self.repo_id}' names no repository. {error}") from None
        if "/" not in self.repo_id:
            raise InvalidInput(
                f"--repo-id '{self.repo_id}' names no repository. Put your user name or your "
                f"organization before it: NAMESPACE/{self.repo_id}."
            )
        if not (self.folder / CARD).is_file():
            raise InvalidInput(f"{self.folder} has no card: {CARD} is missing.")

    @property
    def url(self) -> str:
        """Where it can be seen."""
        kind = "datasets/" if self.repo_type == "dataset" else ""
        return f"{hub.constants.ENDPOINT}/{kind}{self.repo_id}"

    @property
    def files(self) -> dict[str, int]:
        """The files that are sent, by their paths in the repository, with their sizes."""
        names = {
            path.relative_to(self.folder).as_posix(): path.stat().st_size
            for path in sorted(self.folder.glob("**/*"))
            if path.is_file()
        }
        ignored = (*HIDDEN, *self.without)
        return {
            name: size
            for name, size in names.items()
            if not any(fnmatch(name, pattern) for pattern in ignored)
        }

    def listing(self) -> str:
        """The files with their sizes, and the card, for a reader."""
        files = self.files
        lines = [f"{size:>15,}  {name}" for name, size in files.items()]
        total = f"{sum(files.values()):>15,}  bytes in {len(files):,} files"
        card = (self.folder / CARD).read_text(encoding="utf-8", errors="replace")
        return "\n".join([*lines, total, "", f"{CARD}:", "", card])

    def create(self) -> str:
        """Makes the repository, if it is not there; returns its newest commit.

        Raises:
            SympatheiaError: the Hub refuses or fails, or the repository is public and should not.
        """
        with _in_words(f"Making the repository {self.repo_id}", self.repo_id):
            api = _api()
            api.create_repo(
                self.repo_id,
                repo_type=self.repo_type,
                private=self.private or None,
                exist_ok=True,
            )
            found = api.repo_info(self.repo_id, repo_type=self.repo_type)
        if self.private and not found.private:
            raise SympatheiaError(
                f"{self.url} is public already, and --private does not change that, so nothing was "
                f"sent. Make it private at {self.url}/settings, or leave out --private."
            )
        return str(found.sha)

    def upload(self) -> str:
        """Sends what the Hub does not have yet; returns the newest commit, an old one if none.

        Raises:
            SympatheiaError: the Hub refuses or fails; what has arrived is not sent again.
        """
        with (
            _in_words(f"Uploading to {self.repo_id}", self.repo_id),
            warnings.catch_warnings(record=True) as noted,
        ):
            commit = _api().upload_folder(
                repo_id=self.repo_id,
                repo_type=self.repo_type,
                folder_path=self.folder,
                commit_message=self.message,
                ignore_patterns=[*HIDDEN, *self.without],
                # Shards of an earlier version would be read along with the new ones.
                delete_patterns=list(self.owned),
            )
        for warning in noted:
            log.warning("%s", warning.message)
        return str(commit.oid)

    def verify(self, commit: str) -> None:
        """Passes if what the Hub lists of a commit is what the folder holds, by size and hash.

        Raises:
            SympatheiaError: something is missing, different or left over, or the Hub fails.
        """
        with _in_words(f"Listing what {self.repo_id} holds", self.repo_id):
            tree = _api().list_repo_tree(
                self.repo_id, recursive=True, revision=commit, repo_type=self.repo_type
            )
            there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
        here = self.files
        wrong = [f"{name} is missing" for name in here if name not in there]
        wrong += [
            f"{name} differs"
            for name in here
            if name in there and not _same(self.folder / name, there[name])
        ]
        wrong += [
            f"{name} is left over"
            for name in there
            if name not in here and any(fnmatch(name, pattern) for pattern in self.owned)
        ]
        if wrong:
            more = f" and {len(wrong) - 5:,} more" if len(wrong) > 5 else ""
            raise SympatheiaError(
                f"What {self.url} lists is not what {self.folder} holds: "
                f"{', '.join(wrong[:5])}{more}. Run the same command again: it sends just that."
            )


def _same(path: Path, listed: RepoFile) -> bool:
    if listed.size != path.stat().st_size:
        return False
    if listed.lfs is not None:
        return listed.lfs.sha256 == facts_of(path).sha256
    content = path.read_bytes()  # git keeps it, so it is small
    return listed.blob_id == sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _api() -> hub.HfApi:
    """The client, with a limit to its patience and its log fit to be read."""
    hub.get_session().timeout = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    if not sys.stderr.isatty():
        disable_progress_bars()
    its_log = logging.getLogger("huggingface_hub")
    its_log.propagate = False  # Prefect's handler would say everything again
    for handler in its_log.handlers:
        handler.addFilter(_without_signatures)
    # It looks for the token with each call, and keeps none.
    return hub.HfApi(token=True, library_name="sympatheia")


def _without_signatures(record: logging.LogRecord) -> bool:
    """Cuts addresses short: those of the storage carry a permission to write, very long."""
    record.msg, record.args = re.sub(r"\?\S+", "", record.getMessage()), ()
    return True


# What the Hub's statuses mean for one who publishes, and what to do about it.
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
def _in_words(doing: str, repo_id: str = "") -> Iterator[None]:
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
            return f"the Hub refuses the card ({said})", f"Mend {CARD}"
    name = type(error).__name__
    return f"the answer was none of a Hub ({name}: {said})", "Check HF_ENDPOINT and the network"


def _wait(error: BaseException) -> str:
    headers = error.response.headers if isinstance(error, HfHubHTTPError) else {}
    limit = re.search(r"\bt=(\d+)", headers.get("ratelimit", ""))
    seconds = limit[1] if limit else headers.get("retry-after", "")
    return f"{seconds} s" if seconds.isdigit() else "a few minutes"
