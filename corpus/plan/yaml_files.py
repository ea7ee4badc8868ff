"""Reads YAML that people write: YAML 1.1 of plain values, and where in the file each stands."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from corpus.errors import InvalidInput
from corpus.plan.user_input import LONGEST_SAID, Loc, decoded, one_line, shown

_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
_MERGE = _TAG + "merge"
_QUOTE = "put text that is meant as it stands in quotes"


class _Loader(yaml.SafeLoader):
    """Plain values only; a key given twice is an error, not a silent last-one-wins."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401  (PyYAML's)
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(
                    None, None, f"a key has to be text; {_QUOTE}", key.start_mark
                )
            if (key.tag, key.value) in seen:
                raise yaml.composer.ComposerError(
                    None, None, f"key '{one_line(key.value)}' is given twice", key.start_mark
                )
            seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401
        try:
            if node.tag in _PLAIN:
                return super().construct_object(node, deep)
        except (ValueError, ArithmeticError, LookupError):
            pass  # `!!int x`, or a number with thousands of digits: said below, with its place
        what = shown(node.value) if isinstance(node, yaml.ScalarNode) else "this"
        kind = node.tag.removeprefix(_TAG)
        raise yaml.constructor.ConstructorError(
            None, None, f"{what} is read as {kind}; {_QUOTE}", node.start_mark
        )


@dataclass(frozen=True)
class YamlFile:
    """What a YAML file holds, with its tree, which knows the lines."""

    data: Any
    root: yaml.Node | None

    def line(self, loc: Loc) -> int:
        """The line, from 1, where the value at a place begins, or what is there of the way to it.

        An entry of a mapping begins with its key.
        """
        node = self.root
        line = node.start_mark.line if node else 0
        for part in loc:
            match node:
                case yaml.MappingNode():
                    found = [pair for pair in node.value if pair[0].value == str(part)]
                    key, node = found[-1] if found else (None, None)
                    line = key.start_mark.line if key is not None else line
                case yaml.SequenceNode() if isinstance(part, int) and part < len(node.value):
                    node = node.value[part]
                    line = node.start_mark.line
                case _:
                    break
        return line + 1


def read_yaml(path: Path) -> YamlFile:
    """Reads a YAML file.

    Raises:
        FileNotFoundError: there is none.
        InvalidInput: it cannot be read, is not UTF-8 or no YAML of plain values.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from None
    text = decoded(content, str(path))
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        data = None if root is None else loader.construct_document(root)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InvalidInput(
            f"{path} cannot be read: line {line} holds the control character "
            f"U+{error.character:04X}."
        ) from None
    except yaml.MarkedYAMLError as error:
        raise InvalidInput(f"{path} cannot be read: {_in_words(error)}.") from None
    except RecursionError:
        raise InvalidInput(f"{path} cannot be read: it is nested too deep.") from None
    return YamlFile(data, root)


def _in_words(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return where + one_line(said, LONGEST_SAID)
