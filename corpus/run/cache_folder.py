"""Where files are kept that any run may need and none has to keep: the user's cache folder."""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """`sympatheia` in the user's cache folder, by the XDG rules; it need not be there yet.

    A relative or empty `XDG_CACHE_HOME` counts as none, as its specification asks. A user without a
    home has a folder of their own among the temporary files.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    if Path(named).is_absolute():
        return Path(named) / "sympatheia"
    try:
        return Path.home() / ".cache" / "sympatheia"
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return Path(tempfile.gettempdir()) / f"sympatheia-{os.getuid()}"
