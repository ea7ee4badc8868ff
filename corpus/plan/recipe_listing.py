"""A resolved recipe as TOML, each value with where it is from."""

from collections.abc import Sequence
from functools import reduce

import tomlkit
from tomlkit.container import Container

from corpus.plan.recipe_files import find_recipe, load_with_origins
from corpus.plan.recipe_keys import NOT_SET, recipe_keys, toml_item


def recipe_listing(name_or_path: str, overrides: Sequence[str] = ()) -> str:
    """A recipe with every key, whether given or not, and an origin behind each.

    What comes out is a recipe itself: it gives the same run.

    Raises:
        InvalidInput: there is no such recipe, it does not parse, or a key or value is wrong.
    """
    recipe, origin = load_with_origins(name_or_path, overrides)
    plain = recipe.model_dump(mode="json")
    document = tomlkit.document()
    document.add(tomlkit.comment(f"file: {find_recipe(name_or_path)}"))
    for key in recipe_keys():
        *path, name = key.name.split(".")
        value = reduce(lambda section, part: section[part], (*path, name), plain)
        section = _section(document, path)
        if value is None:
            section.add(tomlkit.comment(f"{name}: {NOT_SET}"))
        else:
            section.add(name, toml_item(value).comment(origin(key.name)))
    return document.as_string()


def _section(document: tomlkit.TOMLDocument, path: Sequence[str]) -> Container:
    section: Container = document
    for name in path:
        if name not in section:
            section.add(name, tomlkit.table())
        section = section[name]
    return section
