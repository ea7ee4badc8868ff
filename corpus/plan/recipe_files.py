"""Finds, reads, overrides and writes recipes."""

import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from corpus.errors import InvalidInput
from corpus.plan.prompt_files import BUNDLED, Prompts, explain, load_prompts
from schemas.recipe import Recipe

FORMAT = 1
"""Of a run folder: what requests are made of, and so their digests, and how decisions are filed.
A release that changes either takes the next number, and with it leaves earlier runs alone."""

RECIPES = Path(__file__).resolve().parents[2] / "flows" / "recipes"

# Their versions shape what the corpus holds, so a run folder names them.
VERSIONED = ("sympatheia-corpus", "hibari-tts", "pyarrow", "sentence-transformers", "torch")


def bundled() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a bundled recipe or a TOML file and applies `KEY=VALUE` overrides.

    A relative `prompts` or `storage.url` folder is taken from the file's own folder, or from the
    present folder where an override gives it.

    Raises:
        InvalidInput: there is no such recipe, it does not parse, or a key or value is wrong.
    """
    path = Path(name_or_path)
    if not path.is_file() and name_or_path in bundled():
        path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        raise InvalidInput(
            f"There is no recipe '{name_or_path}': give a TOML file, or one of "
            f"{', '.join(bundled())}."
        )
    data = _parse(path.read_bytes(), str(path))
    if isinstance(data.get("prompts"), str) and data["prompts"]:
        data["prompts"] = str((path.parent / data["prompts"]).resolve())
    storage = data.get("storage")
    if isinstance(storage, dict) and isinstance(storage.get("url"), str):
        storage["url"] = _place(path.parent, storage["url"])
    for override in overrides:
        _apply(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        changed = f" with {', '.join(overrides)}" if overrides else ""
        raise InvalidInput(f"Recipe {path}{changed}: {explain(error)}.") from None


def _parse(content: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{where} is not valid TOML: {error}.") from None


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise InvalidInput(
            f"--set '{override}': write KEY=VALUE with a dotted KEY, for example "
            "--set emotional.pairs_per_anchor=10."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise InvalidInput(
            f"--set '{override}': {text or 'nothing'} is not a TOML value; text needs quotes, as "
            f"in --set '{key.strip()}=\"{text}\"'."
        ) from None
    if key.strip() == "prompts" and isinstance(value, str) and value:
        value = str(Path(value).resolve())
    if key.strip() == "storage.url" and isinstance(value, str):
        value = _place(Path(), value)
    section = data
    for part in parts[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise InvalidInput(f"--set '{override}': '{part}' is not a section of the recipe.")
    section[parts[-1]] = value


def _place(folder: Path, url: str) -> str:
    """A URL as it is; a path from a folder on, so that it means the same wherever a run goes on."""
    return url if not url or "://" in url else str((folder / url).resolve())


def with_overrides(recipe: Recipe, overrides: Sequence[str], section: str) -> Recipe:
    """A recipe with `KEY=VALUE` overrides of one section.

    Raises:
        InvalidInput: a key is of another section or unknown, or a value is impossible.
    """
    data = recipe.model_dump(mode="json")
    for override in overrides:
        if not override.startswith(f"{section}."):
            raise InvalidInput(f"--set '{override}': only keys of {section}.* can be set here.")
        _apply(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise InvalidInput(f"--set: {explain(error)}.") from None


def recipe_prompts(recipe: Recipe) -> Prompts:
    """The prompts folder of a recipe, read and checked.

    Raises:
        InvalidInput: see `load_prompts`.
    """
    folder = Path(recipe.prompts) if recipe.prompts else BUNDLED
    return load_prompts(folder, recipe.llm.templates)


def dump_recipe(recipe: Recipe, prompts: Prompts) -> bytes:
    """The resolved recipe as TOML, with the digest of its prompts and the versions at work."""
    data = recipe.model_dump(mode="json")
    data["resolved"] = {
        "format": FORMAT,
        "prompts_digest": prompts.digest,
        "versions": {name: metadata.version(name) for name in VERSIONED},
    }
    return tomli_w.dumps(data).encode()


def read_resolved(content: bytes, where: str) -> Recipe:
    """Reads back what `dump_recipe` wrote.

    Raises:
        InvalidInput: the file was edited into something that is not a recipe, or the run was begun
            by a release whose runs this one cannot continue.
    """
    data = _parse(content, where)
    resolved = data.pop("resolved", {})
    if resolved.get("format", 1) != FORMAT:  # the first release did not say it yet
        version = resolved.get("versions", {}).get("sympatheia-corpus", "another version")
        raise InvalidInput(
            f"{where}: the run was begun by sympatheia-corpus {version}, whose runs this version "
            f"({metadata.version('sympatheia-corpus')}) cannot continue: it would ask everything "
            "anew. Finish it with that version, or give another folder with --run-dir."
        )
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise InvalidInput(f"{where}: {explain(error)}.") from None
