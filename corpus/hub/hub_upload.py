"""Publishing: makes a repository of the Hugging Face Hub hold the files of a folder.

`huggingface_hub` does the sending. It leaves out what the Hub has already, so a call after a failed
one goes on where that one stopped, and a call with nothing new to send makes no commit. This module
adds what it leaves to its caller: files of an earlier version go, what the Hub lists afterwards is
compared with the folder, and every failure is a sentence.

The token comes from HF_TOKEN or the hub's own login; nothing here keeps, prints or logs it.
"""

import logging
import warnings
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha1
from pathlib import Path
from typing import Literal

import huggingface_hub as hub
from huggingface_hub.hf_api import RepoFile

from corpus.dataset.manifest import facts_of
from corpus.errors import InvalidInput, SympatheiaError
from corpus.hub.hub_client import (
    find_token,
    hub_api,
    require_repo_id,
    require_tag_name,
    tags_of,
)
from corpus.hub.hub_errors import in_words
from corpus.run.run_folder import RunFolder

CARD = "README.md"

HIDDEN = (".*", "*/.*")
"""Left by editors, downloads and version control; the Hub keeps a .gitattributes of its own."""

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
    from corpus.checks.dataset_check import (
        check_folder,  # models and all, which nothing else here needs
    )

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
    if find_token() is None:
        raise SympatheiaError(
            "There is no token for the Hub. Set HF_TOKEN to one that may write, or log in with "
            "'hf auth login', and run the same command again."
        )


@dataclass(frozen=True)
class Publication:
    """A folder, and the repository that is to hold it.

    `only` has the patterns of files that are sent, `owned` those of files that are removed from the
    repository if the folder has them no longer; a `*` takes any number of folders. `tag` is what
    its commit is to be called for good, if anything.
    """

    folder: Path
    repo_id: str
    repo_type: Literal["dataset", "model"] = "dataset"
    private: bool = False
    message: str = "Publish the corpus"
    only: tuple[str, ...] = ("*",)
    owned: tuple[str, ...] = ("data/*.parquet",)
    tag: str | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be published.

        Raises:
            InvalidInput: the name of the repository or of the tag is malformed, or the folder has
                no card.
        """
        require_repo_id(self.repo_id, "--repo-id")
        if self.tag is not None:
            require_tag_name(self.tag, "--tag")
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
        return {
            name: size
            for name, size in names.items()
            if any(fnmatch(name, pattern) for pattern in self.only)
            and not any(fnmatch(name, pattern) for pattern in HIDDEN)
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
        with in_words(f"Making the repository {self.repo_id}", self.repo_id):
            api = hub_api()
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
            in_words(f"Uploading to {self.repo_id}", self.repo_id),
            warnings.catch_warnings(record=True) as noted,
        ):
            commit = hub_api().upload_folder(
                repo_id=self.repo_id,
                repo_type=self.repo_type,
                folder_path=self.folder,
                commit_message=self.message,
                allow_patterns=list(self.only),
                ignore_patterns=list(HIDDEN),
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
        if wrong := self._differences(commit):
            more = f" and {len(wrong) - 5:,} more" if len(wrong) > 5 else ""
            raise SympatheiaError(
                f"What {self.url} lists is not what {self.folder} holds: "
                f"{', '.join(wrong[:5])}{more}. Run the same command again: it sends just that."
            )

    def _differences(self, commit: str) -> list[str]:
        with in_words(f"Listing what {self.repo_id} holds", self.repo_id):
            tree = hub_api().list_repo_tree(
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
        return wrong

    def require_free_tag(self, newest: str) -> None:
        """Passes if the tag is not taken, or marks what would be published.

        A name stays what it was, so this comes before anything is sent.

        Args:
            newest: the newest commit of the repository, which is there.

        Raises:
            SympatheiaError: the tag marks something else, or the Hub fails.
        """
        if self.tag is None:
            return
        marked = self._marked()
        if marked is None or (marked == newest and not self._differences(newest)):
            return
        raise SympatheiaError(
            f"The tag '{self.tag}' of {self.url} marks commit {marked[:12]} already, and a name "
            "stays what it was, so nothing was sent. Publish under another --tag, or without one."
        )

    def mark(self, commit: str) -> None:
        """Has the tag, if there is to be one, mark a commit; that it does already is fine.

        Raises:
            SympatheiaError: the Hub refuses or fails.
        """
        if self.tag is None or self._marked() == commit:
            return
        with in_words(f"Setting the tag '{self.tag}' of {self.repo_id}", self.repo_id):
            hub_api().create_tag(
                self.repo_id, tag=self.tag, revision=commit, repo_type=self.repo_type
            )

    def _marked(self) -> str | None:
        """The commit that the tag marks; None if there is no such tag."""
        with in_words(f"Listing the tags of {self.repo_id}", self.repo_id):
            return tags_of(hub_api(), self.repo_id, self.repo_type).get(self.tag or "")


def _same(path: Path, listed: RepoFile) -> bool:
    if listed.size != path.stat().st_size:
        return False
    if listed.lfs is not None:
        return listed.lfs.sha256 == facts_of(path).sha256
    content = path.read_bytes()  # git keeps it, so it is small
    return listed.blob_id == sha1(b"blob %d\0" % len(content) + content).hexdigest()
