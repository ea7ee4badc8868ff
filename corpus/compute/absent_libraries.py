"""Stands in for libraries that another library imports at its top and never calls."""

import importlib.machinery
import importlib.util
import sys
import types


def stand_in(package: str, *parts: str) -> None:
    """Puts empty modules in the place of a package that is not installed, in this process alone.

    Args:
        package: its name.
        parts: dotted names of modules within it that are imported, too, each behind its parent.
    """
    if importlib.util.find_spec(package):
        return
    for name in (package, *parts):
        module = types.ModuleType(name)
        # With one of these, whoever looks for the library finds a module and not an error.
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
