"""Reads and checks a prompts folder, and renders its templates into chat messages.

A prompts folder holds `anchors.yaml`, `topics.yaml`, `rules.yaml` and one folder of templates per
kind of model under `templates/` (bundled: `full` for models that follow instructions, `small` for
models that only continue examples). A template is a Jinja file in which a line `[[system]]`,
`[[user]]` or `[[assistant]]` opens a message.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import jinja2
import yaml
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ValidationError

from corpus.errors import InvalidInput
from schemas.prompts import Anchor, AnchorFile, RuleFile, TopicFile

BUNDLED = Path(__file__).resolve().parents[2] / "prompts"
TEMPLATES = ("emotional_query", "neutral_query", "emotional_response", "neutral_response")
SUFFIX = ".jinja"

_ROLE_LINE = re.compile(r"^\[\[(system|user|assistant)\]\]\s*$", re.MULTILINE)

Message = dict[str, str]
Model = TypeVar("Model", bound=BaseModel)


def explain(error: ValidationError) -> str:
    """The first problem of a pydantic error in words: key, value and what is allowed."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or "top level"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    if problem["type"] == "missing":
        return f"{where}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = "" if isinstance(value, (dict, BaseModel)) else f" (got {value!r:.80})"
    return f"{where}: {message}{shown}"


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not a silent last-one-wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read(path: Path, model: type[Model]) -> Model:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError:
        raise InvalidInput(
            f"{path} is missing; a prompts folder needs anchors.yaml, topics.yaml and rules.yaml "
            f"(copy the bundled ones from {BUNDLED})."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"{path} cannot be read: {' '.join(str(error).split())}.") from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidInput(f"{path}: {explain(error)}.") from error


@dataclass(frozen=True)
class Prompts:
    """A prompts folder, read and validated; templates are compiled on first use."""

    folder: Path
    template_set: str
    anchor_file: AnchorFile
    topic_file: TopicFile
    rules: RuleFile

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """Every anchor of the folder, in file order."""
        return self.anchor_file.anchors

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic of the folder, in file order."""
        return self.topic_file.topics

    def aliases_of(self, anchor: Anchor) -> tuple[str, ...]:
        """Labels of other datasets that stand for an anchor."""
        return tuple(
            label for label, name in self.anchor_file.aliases.items() if name == anchor.name
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and contents of every file that shapes a prompt."""
        digest = hashlib.sha256()
        for path in self._files():
            content = path.read_bytes()
            name = path.relative_to(self.folder).as_posix()
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    def _files(self) -> list[Path]:
        return sorted(
            [
                *self.folder.glob("*.yaml"),
                *(self.folder / "templates" / self.template_set).glob(f"*{SUFFIX}"),
            ]
        )

    @cached_property
    def _environment(self) -> jinja2.Environment:
        return ImmutableSandboxedEnvironment(
            loader=jinja2.FileSystemLoader(self.folder / "templates" / self.template_set),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            # A template that is edited in mid-run must not change what the run asks.
            auto_reload=False,
        )

    def render(self, template: str, values: Mapping[str, object]) -> list[Message]:
        """The chat messages of one template.

        Raises:
            InvalidInput: the template is missing, does not parse, or names an unknown value.
        """
        path = self.folder / "templates" / self.template_set / (template + SUFFIX)
        try:
            text = self._environment.get_template(template + SUFFIX).render(values)
        except jinja2.TemplateNotFound as error:
            raise InvalidInput(f"{path}: template {error.name} is missing.") from None
        except jinja2.TemplateError as error:
            raise InvalidInput(f"{path}: {error}.") from error
        before, *parts = _ROLE_LINE.split(text)
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

    def emotional_query(self, anchor: Anchor, topic: str) -> list[Message]:
        """Asks for a query spoken in the anchor's emotion about a topic."""
        return self.render("emotional_query", {"anchor": anchor, "topic": topic})

    def neutral_query(self, topic: str) -> list[Message]:
        """Asks for an unemotional query about a topic."""
        neutral = self.anchor_file.neutral_query
        return self.render("neutral_query", {"neutral": neutral, "topic": topic})

    def emotional_response(self, anchor: Anchor, query: str) -> list[Message]:
        """Asks for a response to a query that was spoken in the anchor's emotion."""
        return self.render("emotional_response", {"anchor": anchor, "query": query})

    def neutral_response(self, anchor: Anchor, query: str) -> list[Message]:
        """Asks for a response to a neutral query, given that the user feels as the anchor does."""
        return self.render("neutral_response", {"anchor": anchor, "query": query})

    def judge(self, anchor: Anchor, query: str, response: str, *, in_words: bool) -> list[Message]:
        """Asks for grades of a pair; `in_words`: whether the query's words show the feeling."""
        values = {"anchor": anchor, "query": query, "response": response, "in_words": in_words}
        return self.render("judge", values)


def read_anchors(folder: Path) -> AnchorFile:
    """The anchors of a prompts folder, without its other files.

    Raises:
        InvalidInput: the file is missing, or a field of it is missing, unknown or out of range.
    """
    return _read(folder / "anchors.yaml", AnchorFile)


def template_sets(folder: Path) -> list[str]:
    """Names of the template sets a prompts folder offers."""
    return sorted(path.name for path in (folder / "templates").glob("*") if path.is_dir())


def load_prompts(folder: Path, template_set: str) -> Prompts:
    """Reads a prompts folder and renders every template for every anchor and topic once.

    Raises:
        InvalidInput: a file is missing, a field is missing, unknown or out of range, two anchors
            are alike, or a template does not render.
    """
    if not folder.is_dir():
        raise InvalidInput(f"Prompts folder {folder} does not exist.")
    sets = template_sets(folder)
    if template_set not in sets:
        raise InvalidInput(
            f"{folder}/templates has no set '{template_set}'; it has {', '.join(sets) or 'none'}."
        )
    prompts = Prompts(
        folder=folder,
        template_set=template_set,
        anchor_file=_read(folder / "anchors.yaml", AnchorFile),
        topic_file=_read(folder / "topics.yaml", TopicFile),
        rules=_read(folder / "rules.yaml", RuleFile),
    )
    _render_all(prompts)
    return prompts


def _render_all(prompts: Prompts) -> None:
    topic, query = prompts.topics[0], "What should I cook tonight?"
    prompts.neutral_query(topic)
    for anchor in prompts.anchors:
        prompts.emotional_query(anchor, topic)
        prompts.emotional_response(anchor, query)
        prompts.neutral_response(anchor, query)
        prompts.judge(anchor, query, "Something that is quickly done.", in_words=True)
