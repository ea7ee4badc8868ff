"""A folder of templates, rendered into chat messages.

A template is a Jinja file in which a line `[[system]]`, `[[user]]` or `[[assistant]]` opens a
message.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from corpus.errors import InvalidInput
from corpus.plan.user_input import LONGEST_SAID, decoded, one_line
from schemas.prompts import ROLE_LINE
from schemas.recipe_values import bad_character

SUFFIX = ".jinja"

_RAISED_BY_EXPRESSIONS = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError),
    *(RecursionError, TypeError, ValueError),
)
"""What an expression of a template raises beside Jinja's own errors, `{{ 1 / 0 }}` for one."""

Message = dict[str, str]


class Templates:
    """The templates of one folder; each is read and compiled at its first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _environment(self) -> jinja2.Environment:
        return ImmutableSandboxedEnvironment(
            loader=jinja2.FunctionLoader(self._source),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            # A template that is edited in mid-run must not change what the run asks.
            auto_reload=False,
        )

    def _source(self, name: str) -> str | None:
        path = self._folder / name
        if not path.is_file():
            return None
        text = decoded(path.read_bytes(), str(path)).replace("\r\n", "\n")
        if found := bad_character(text):
            raise InvalidInput(f"{path} holds {found}.")
        return text

    def path(self, template: str) -> Path:
        """The file of a template, whether or not it is there."""
        return self._folder / (template + SUFFIX)

    def render(self, template: str, values: Mapping[str, object]) -> list[Message]:
        """The chat messages of one template.

        Raises:
            InvalidInput: the template is missing, does not parse, or names an unknown value.
        """
        path = self.path(template)
        try:
            text = self._environment.get_template(template + SUFFIX).render(values)
        except jinja2.TemplateNotFound as error:
            raise InvalidInput(
                f"{path}: template {one_line(str(error.name))} is missing."
            ) from None
        except jinja2.TemplateSyntaxError as error:
            said = one_line(error.message or "no template", LONGEST_SAID).rstrip(".")
            raise InvalidInput(f"{path}: line {error.lineno}: {said}.") from error
        except (jinja2.TemplateError, *_RAISED_BY_EXPRESSIONS) as error:
            said = one_line(str(error) or type(error).__name__, LONGEST_SAID)
            raise InvalidInput(f"{path}: {said}.") from error
        before, *parts = ROLE_LINE.split(text)
        messages = [
            {"role": role, "content": content.strip()}
            for role, content in zip(parts[::2], parts[1::2], strict=True)
        ]
        if before.strip() or not messages:
            raise InvalidInput(f"{path} must begin with a line [[system]] or [[user]].")
        if messages[-1]["role"] != "user":
            raise InvalidInput(f"{path} must end with a [[user]] message.")
        empty = next((m["role"] for m in messages if not m["content"]), None)
        if empty:
            raise InvalidInput(f"{path} renders an empty [[{empty}]] message.")
        return messages
