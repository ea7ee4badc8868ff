"""Finds, reads, overrides and writes recipes."""

import os
import re
import tomllib
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import ValidationError

from corpus.errors import InvalidInput
from corpus.plan.prompt_files import ANNOTATE, BUNDLED, Prompts, load_prompts
from corpus.plan.subsets.registry import own_templates, require_rendered
from corpus.plan.user_input import (
    LONGEST_SAID,
    at_home,
    decoded,
    explain,
    one_line,
    secret,
    shown,
    without_password,
)
from schemas.recipe import Recipe
from schemas.recipe_values import bad_character

FORMAT = 2
"""Of a run folder: what requests are made of, and so their digests, how decisions are filed, and
how records are written. A release that changes one takes the next number, so that earlier ones
leave its runs alone. Since 2 records have checksums, which releases up to 0.2.0 cannot read."""
_CONTINUED = (1, 2)
"""The formats of runs that this release goes on with."""

Origin = Literal["default", "file", "override"]
"""Where a value of a resolved recipe is from: the model, the recipe's file, or `--set`."""

RECIPES = Path(__file__).resolve().parents[2] / "flows" / "recipes"

# Their versions shape what the corpus holds, so a run folder names them.
VERSIONED = (
    "sympatheia-corpus",
    "ctranslate2",
    "hibari-tts",
    "pyarrow",
    "sentence-transformers",
    "torch",
)

_FROM_FOLDER = ("prompts", "storage.url")
"""Keys of paths that are taken from the folder of the file that gives them."""

_PATHS = (*_FROM_FOLDER, "llm.vllm.python", "dedup.model")
"""Keys that may hold a path, in which `~` is the home folder."""

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


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
    return load_with_origins(name_or_path, overrides)[0]


def load_with_origins(
    name_or_path: str, overrides: Sequence[str]
) -> tuple[Recipe, Callable[[str], Origin]]:
    """A recipe as `load_recipe` gives it, and what tells where the value of a dotted key is from.

    Raises:
        InvalidInput: as with `load_recipe`.
    """
    path = find_recipe(name_or_path)
    data = _read(path)
    for override in overrides:
        _apply(data, override)
    changed = [override.partition("=")[0].strip() for override in overrides]
    keys = one_line(", ".join(changed))
    recipe = _validated(data, f"Recipe {path} with {keys}" if keys else f"Recipe {path}")

    def origin(key: str) -> Origin:
        section: Any = data
        for name in key.split("."):
            if not isinstance(section, dict) or name not in section:
                return "default"
            section = section[name]
        # A section that was given holds the key, or the key is a table in which one was given.
        holds = any(f"{key}.".startswith(f"{one}.") for one in changed)
        return "override" if holds or any(one.startswith(f"{key}.") for one in changed) else "file"

    return recipe, origin


def find_recipe(name_or_path: str) -> Path:
    """The file of a recipe.

    Raises:
        InvalidInput: there is none.
    """
    path = Path(at_home(name_or_path, "The recipe"))
    name = one_line(name_or_path, LONGEST_SAID)
    try:
        if not path.is_file() and name_or_path in bundled():
            path = RECIPES / f"{name_or_path}.toml"
        if not path.is_file():
            raise InvalidInput(
                f"There is no recipe '{name}': give a TOML file, or one of {', '.join(bundled())}."
            )
    except OSError as error:
        raise InvalidInput(f"Recipe {name} cannot be read: {error.strerror}.") from None
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"Recipe {path} cannot be read: {error.strerror}.") from None
    data: dict[str, Any] = _placed(_parse(content, str(path)), path.parent)
    return data


def _parse(content: bytes, where: str) -> dict[str, Any]:
    text = decoded(content, where)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InvalidInput(f"{where} is not valid TOML: it is nested too deep.") from None
    except ValueError as error:  # that of TOML, or of a number with thousands of digits
        said = one_line(str(error), LONGEST_SAID)
        raise InvalidInput(f"{where} is not valid TOML: {said}.") from None


def _validated(data: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise InvalidInput(f"{where}: {explain(error, data)}.") from None


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not _KEY.fullmatch(key):
        raise InvalidInput(
            f"--set {shown(key)}: write KEY=VALUE with a dotted KEY, for example "
            "--set emotional.pairs_per_anchor=10."
        )
    *sections, last = key.split(".")
    value = _placed(_value(key, text), Path(), key)
    section = data
    for name in sections:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            raise InvalidInput(f"--set {key}: '{name}' is not a section of the recipe.")
    section[last] = value


def _value(key: str, text: str) -> object:
    """The one value of an override."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        example = "TEXT" if secret(key) else one_line(without_password(text))
        raise InvalidInput(
            f"--set {key}: {example or 'nothing'} is not a TOML value; text needs quotes, as in "
            f"--set '{key}=\"{example}\"'."
        ) from None
    if len(found) > 1:
        raise InvalidInput(
            f"--set {key}: more than one value is given; write --set once for each key."
        )
    return found["value"]


def _placed(value: Any, folder: Path, key: str = "") -> Any:  # noqa: ANN401  (whatever TOML holds)
    """The paths in a value made such that they mean the same wherever a run goes on."""
    if isinstance(value, dict) and any(path.startswith(key) for path in _PATHS):
        before = f"{key}." if key else ""
        return {name: _placed(part, folder, before + name) for name, part in value.items()}
    if key not in _PATHS or not isinstance(value, str):
        return value
    if not value or "://" in value or bad_character(value):
        return value
    path = at_home(value, key)
    # Path.resolve raises on a link to itself; here that is a folder that does not exist.
    return os.path.realpath(folder / path) if key in _FROM_FOLDER else path


def with_overrides(recipe: Recipe, overrides: Sequence[str], sections: Sequence[str]) -> Recipe:
    """A recipe with `KEY=VALUE` overrides of some sections.

    Raises:
        InvalidInput: a key is of another section or unknown, or a value is impossible.
    """
    data = recipe.model_dump(mode="json")
    for override in overrides:
        if override.partition(".")[0] not in sections:
            key = override.partition("=")[0].strip()
            ours = " and ".join(f"{section}.*" for section in sections)
            raise InvalidInput(f"--set {shown(key)}: only keys of {ours} can be set here.")
        _apply(data, override)
    return _validated(data, "--set")


def recipe_prompts(recipe: Recipe) -> Prompts:
    """The prompts folder of a recipe, read and checked.

    Raises:
        InvalidInput: see `load_prompts`.
    """
    folder = Path(recipe.prompts) if recipe.prompts else BUNDLED
    more = own_templates(recipe) + ((ANNOTATE,) if recipe.annotate.empathy else ())
    prompts = load_prompts(folder, recipe.llm.templates, more)
    require_rendered(prompts)
    return prompts


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
    resolved = resolved if isinstance(resolved, dict) else {}
    if resolved.get("format", 1) not in _CONTINUED:  # the first release did not say it yet
        versions = resolved.get("versions")
        version = (versions if isinstance(versions, dict) else {}).get(
            "sympatheia-corpus", "another version"
        )
        raise InvalidInput(
            f"{where}: the run was begun by sympatheia-corpus {version}, whose runs this version "
            f"({metadata.version('sympatheia-corpus')}) cannot continue: it would ask everything "
            "anew. Finish it with that version, or give another folder with --run-dir."
        )
    return _validated(data, where)
