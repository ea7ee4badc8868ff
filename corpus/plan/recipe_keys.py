"""Every key of the recipe with its type, range, default and meaning, read from the recipe's model.

The JSON Schema of the model has all of it, so that is what is read: a new key or section is listed
here, in the command line's help and in the documentation without another line of code.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import tomlkit
import tomlkit.items
from pydantic import BaseModel

from corpus.errors import SympatheiaError
from schemas.recipe import Recipe

Schema = Mapping[str, Any]

REQUIRED = "required"
NOT_SET = "not set"
"""What stands for None, which TOML has no word for."""

_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "table",
    "array": "list",
}


@dataclass(frozen=True, slots=True)
class RecipeKey:
    """One key: its dotted name, and what a person has to know to set it.

    Attributes:
        name: dotted, as for `--set`.
        type: the kind of value, in words.
        range: what of that kind is allowed, in words; empty if anything is.
        required: whether a recipe has to give it.
        default: what it is if a recipe does not give it; None where it has to.
        meaning: from the model; empty where that has none.
    """

    name: str
    type: str
    range: str
    required: bool
    default: Any
    meaning: str

    @property
    def default_in_words(self) -> str:
        """The default as a recipe would give it, or that there is none."""
        return REQUIRED if self.required else f"default {in_toml(self.default)}"

    @property
    def kind(self) -> str:
        """Type and range together."""
        return f"{self.type}: {self.range}" if self.range else self.type


def recipe_schema(model: type[BaseModel] = Recipe) -> dict[str, Any]:
    """The JSON Schema of a recipe, by which editors complete and check one."""
    schema = model.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def recipe_keys(model: type[BaseModel] = Recipe) -> list[RecipeKey]:
    """Every key of a recipe, in the model's order."""
    schema = recipe_schema(model)
    return list(_keys_of(schema, schema.get("$defs", {}), "", {}))


def recipe_sections(model: type[BaseModel] = Recipe) -> dict[str, str]:
    """The dotted name of every section, in order, and what its model says of it."""
    schema = recipe_schema(model)
    return dict(_sections_of(schema, schema.get("$defs", {}), ""))


def keys_as_data(keys: Iterable[RecipeKey]) -> list[dict[str, Any]]:
    """Keys as plain data."""
    return [asdict(key) for key in keys]


def require_meanings(keys: Sequence[RecipeKey]) -> None:
    """Passes if every key says what it means.

    Raises:
        SympatheiaError: some do not; the sentence names them.
    """
    silent = [key.name for key in keys if not key.meaning]
    if silent:
        raise SympatheiaError(
            f"Without a meaning: {', '.join(silent)}. Give each a Field(description=...) in the "
            "recipe's model."
        )


def in_toml(value: Any) -> str:  # noqa: ANN401  (any value of a recipe)
    """A value in one line of TOML."""
    return NOT_SET if value is None else toml_item(value).as_string()


def toml_item(value: Any) -> tomlkit.items.Item:  # noqa: ANN401  (any value of a recipe)
    """A value as it stands behind a key, tables in one line too."""
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        table.update(value)
        return table
    item: tomlkit.items.Item = tomlkit.item(value)
    return item


def _keys_of(
    section: Schema, defs: Mapping[str, Schema], prefix: str, given: Mapping[str, Any]
) -> Iterator[RecipeKey]:
    """The keys of a section; `given` has the defaults that its parent gives it."""
    required = section.get("required", ())
    for name, field in section["properties"].items():
        found = _resolved(field, defs)
        default = given.get(name, field.get("default"))
        if "properties" in found:
            yield from _keys_of(found, defs, f"{prefix}{name}.", default or {})
            continue
        yield RecipeKey(
            name=prefix + name,
            type=_type_of(found, defs),
            range=_range_of(found, defs),
            required=name in required and name not in given,
            default=default,
            meaning=field.get("description", ""),
        )


def _sections_of(
    section: Schema, defs: Mapping[str, Schema], prefix: str
) -> Iterator[tuple[str, str]]:
    for name, field in section["properties"].items():
        found = _resolved(field, defs)
        if "properties" in found:
            yield prefix + name, " ".join(found.get("description", "").split())
            yield from _sections_of(found, defs, f"{prefix}{name}.")


def _resolved(field: Schema, defs: Mapping[str, Schema]) -> Schema:
    """What a field is, with a reference followed."""
    reference = field.get("$ref", "")
    return defs[reference.rpartition("/")[2]] if reference else field


def _type_of(field: Schema, defs: Mapping[str, Schema]) -> str:
    field = _resolved(field, defs)
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type_of(part, defs) for part in _choices(field)))
    if "const" in field or "enum" in field:
        return " or ".join(dict.fromkeys(map(_type_of_value, _values(field))))
    kind = _TYPES.get(field.get("type", ""), "any value")
    if kind == "list" and field.get("items"):
        return f"list of {_type_of(field['items'], defs)}"
    return kind


def _choices(field: Schema) -> list[Schema]:
    """The kinds of value a field may have, but for none at all."""
    return [part for part in field["anyOf"] if part.get("type") != "null"]


def _values(field: Schema) -> list[Any]:
    """The values that a field of few has."""
    return list(field["enum"]) if "enum" in field else [field["const"]]


def _type_of_value(value: object) -> str:
    return "text" if isinstance(value, str) else in_toml(value)


def _range_of(field: Schema, defs: Mapping[str, Schema]) -> str:
    field = _resolved(field, defs)
    if "anyOf" in field:
        return " or ".join(filter(None, (_range_of(part, defs) for part in _choices(field))))
    if "const" in field or "enum" in field:
        return " or ".join(map(in_toml, _values(field)))
    limits = [
        f"{words} {_number(field[name])}"
        for name, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if name in field
    ]
    if "minimum" in field and "maximum" in field:
        limits = [f"{_number(field['minimum'])} to {_number(field['maximum'])}"]
    if field.get("minItems", 0) > 1 and field["minItems"] == field.get("maxItems"):
        limits.append(f"{field['minItems']} of them")
    elif field.get("minLength") or field.get("minItems"):
        limits.append("not empty")
    return ", ".join(limits)


def _number(limit: float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:,g}"
