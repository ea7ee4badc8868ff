"""Git LFS leaves a pointer, some lines of text, in a clone where it did not fetch a large file."""

from pathlib import Path

from corpus.errors import InvalidInput

_BEGIN = b"version https://git-lfs.github.com/spec/"
"""How a pointer begins (the specification of Git LFS)."""

POINTER = (
    "a Git LFS pointer, not the file itself. Run 'git lfs pull' in the clone, or fetch it with "
    "'hf download'"
)
"""What is said of one: the end of a sentence, with the remedy."""


def is_pointer(path: Path) -> bool:
    """Whether a file is such a pointer.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(len(_BEGIN)) == _BEGIN


def require_fetched(path: str | Path) -> None:
    """Passes unless there is a pointer among the files of a folder, a checkpoint's perhaps.

    Raises:
        InvalidInput: there is one.
    """
    for file in sorted(Path(path).glob("*")):
        if file.is_file() and is_pointer(file):
            raise InvalidInput(f"{file} is {POINTER}.")
