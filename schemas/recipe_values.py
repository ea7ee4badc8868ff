"""What people may write: plain texts and numbers anywhere, and the values of recipe sections."""

import math
import re
import unicodedata
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationError,
    field_validator,
)

WHOLE = range(-(2**63), 2**63)
"""The whole numbers of TOML, and of what JSON is written with here."""

_SPACE = "\n\t"
_BAD = {"Cc": "control character", "Cs": "half character"}


def bad_character(text: str) -> str | None:
    """In words, the first character of a text that no file, request or terminal is to get.

    These are the control characters but line feed and tab, and halves of surrogate pairs.
    """
    for char in text:
        if char not in _SPACE and (kind := _BAD.get(unicodedata.category(char))):
            return f"the {kind} U+{ord(char):04X}"
    return None


def require_plain(value: object) -> None:
    """Sees that a value, at any depth, is one that can be written down and sent.

    Raises:
        ValueError: a number in it is not finite or beyond 64 bits, or a text holds a control
            character.
    """
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as table:
                waiting += [*table, *table.values()]
            case list() | tuple() as items:
                waiting += items
            case float() as number if not math.isfinite(number):
                raise ValueError("a finite number is wanted")
            case int() as number if number not in WHOLE:
                raise ValueError("a whole number has 64 bits at the most")
            case str() as text if found := bad_character(text):
                raise ValueError(f"it holds {found}")


Share = Annotated[StrictFloat, Field(ge=0.0, le=1.0)]
Positive = Annotated[StrictInt, Field(ge=1, lt=2**31)]
Name = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

RuleSetting = Annotated[
    Annotated[float, Field(strict=True, allow_inf_nan=False)] | Literal[False, "report"],
    Field(union_mode="left_to_right"),  # else a limit of 0 is taken for false
]
"""What a recipe may say of a rule: its limit, that it is off, or that it only reports."""
RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]

EXAMPLE = "http://127.0.0.1:8000/v1"

_HTTP = TypeAdapter(HttpUrl)
_SHAPE = re.compile(r"https?://[^\s/\\]+(/[^\s\\]*)?", re.IGNORECASE)


def require_base_address(url: str) -> str:
    """A base address to which paths such as `/chat/completions` can be added, as it was given.

    Raises:
        ValueError: it is none; the message does not repeat it, for it may hold a password.
    """
    if "@" in url:
        raise ValueError(
            "a user and a password do not belong into an address, which is written down with the "
            "run; leave them out, and name the environment variable that holds the key in "
            "api_key_env ('Basic ' and the base64 of user:password is a key, too)"
        )
    if "?" in url or "#" in url:
        raise ValueError("an address ends before any '?' or '#', because paths are added to it")
    if not _SHAPE.fullmatch(url):
        raise ValueError(f"not an address such as {EXAMPLE}")
    try:
        _HTTP.validate_python(url)
    except ValidationError as error:
        why = error.errors()[0]["msg"].rpartition(", ")[2]
        raise ValueError(f"not an address such as {EXAMPLE}: {why}") from None
    return url


Url = Annotated[
    str,
    Field(json_schema_extra={"pattern": r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"}),
    AfterValidator(require_base_address),
]


# Keys that mean the same of the text model's servers and of the voice's.
Gpus = Annotated[
    StrictInt,
    Field(
        ge=0,
        description="How many GPUs the servers of this section have together, for GPU-hours to be "
        "counted; 0: unknown.",
    ),
]
GpuHourPrice = Annotated[
    StrictFloat,
    Field(
        ge=0.0,
        description="What an hour of one of these GPUs costs, in whatever currency, for the cost "
        "to be estimated; 0: unknown.",
    ),
]
ApiKeyEnv = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$",
        description="Name of the environment variable that holds the servers' API key; empty for "
        "servers without one.",
    ),
]
TimeoutSeconds = Annotated[
    StrictFloat, Field(gt=0, description="Seconds that one try at a request may take.")
]
PatienceSeconds = Annotated[
    StrictFloat,
    Field(
        ge=0,
        description="Seconds that a request is tried again, counted from its first failure, until "
        "the run ends with an error.",
    ),
]


class Section(BaseModel):
    """A section of the recipe: no unknown keys, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        if not isinstance(value, dict):  # a section, which sees to its own keys
            require_plain(value)
        return value
