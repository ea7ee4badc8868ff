"""Where a published checkpoint lies: in a folder, or on the Hub."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from corpus.errors import InvalidInput
from corpus.git_lfs import require_fetched


def folder_of(path: str | Path, files: list[str], what: str, published: str) -> Path:
    """The folder of a checkpoint; one that is named on the Hub is fetched.

    Args:
        path: a folder, or a name on the Hub.
        files: patterns of the files that are needed.
        what: the kind of checkpoint, for the error.
        published: its name on the Hub, for the error.

    Raises:
        InvalidInput: there is none, or a clone without its large files.
    """
    if Path(path).is_dir():
        require_fetched(path)
        return Path(path)
    try:
        return Path(snapshot_download(str(path), allow_patterns=files))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InvalidInput(
            f"There is no {what} at {path}: give a folder that has it, or its name on the Hub "
            f"({published})."
        ) from error
