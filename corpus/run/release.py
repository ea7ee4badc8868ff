"""What tells one release from another: its number, and digests of what shapes a corpus."""

from hashlib import sha256
from importlib import metadata
from pathlib import Path

from corpus.plan.prompt_files import BUNDLED, load_prompts, template_sets

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


def release() -> str:
    """Version, digests of the bundled prompts by set of templates, and of the locked packages."""
    lines = [f"sympatheia-corpus {metadata.version('sympatheia-corpus')}"]
    lines += [
        f"prompts {name} {load_prompts(BUNDLED, name).digest}" for name in template_sets(BUNDLED)
    ]
    # An installed wheel comes without the lock: what is beside it was chosen by the installer.
    lines += [f"lock {sha256(LOCK.read_bytes()).hexdigest()}" if LOCK.is_file() else "lock none"]
    return "\n".join(lines)
