"""What the double of the Hub holds: repositories, their commits and tags, with git's own ids."""

import hashlib
from dataclasses import dataclass, field
from typing import Any


def blob_id(content: bytes) -> str:
    """What git calls a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A file of a commit: its content, and whether that is an LFS object."""

    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        head = b"version https://git-lfs.github.com/spec/v1\n"
        return head + f"oid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()

    def listed(self, path: str) -> dict[str, Any]:
        oid = blob_id(self.pointer if self.lfs else self.content)
        found: dict[str, Any] = {"type": "file", "oid": oid, "size": len(self.content)}
        if self.lfs:
            found["lfs"] = {
                "oid": self.sha256,
                "size": len(self.content),
                "pointerSize": len(self.pointer),
            }
        return found | {"path": path}


@dataclass
class Repository:
    """Its commits, the oldest first: message and files of each."""

    private: bool
    commits: list[tuple[str, dict[str, Entry]]] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    """LFS objects that have arrived, referred to by a commit or not."""
    tags: dict[str, str] = field(default_factory=dict)
    """Commits by the tags that mark them."""

    @property
    def files(self) -> dict[str, Entry]:
        return self.commits[-1][1]

    def oid(self, number: int = -1) -> str:
        number %= len(self.commits)
        message, files = self.commits[number]
        parts = [str(number), message, *(f"{path} {files[path].sha256}" for path in sorted(files))]
        return hashlib.sha1("\n".join(parts).encode()).hexdigest()

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, a tag or its own id means."""
        commits = [self.oid(number) for number in range(len(self.commits))]
        known = {"main": commits[-1]} | self.tags | {commit: commit for commit in commits}
        return known.get(revision)

    def at(self, revision: str) -> dict[str, Entry] | None:
        commit = self.resolve(revision)
        numbers = range(len(self.commits))
        return next((self.commits[n][1] for n in numbers if self.oid(n) == commit), None)
