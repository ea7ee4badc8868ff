"""Addresses of servers, as a recipe gives them."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, HttpUrl, TypeAdapter, ValidationError

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
