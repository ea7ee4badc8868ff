"""Writes what the documentation says of every recipe key and every command, from the code itself.

    .venv/bin/python -m docs.generate            # writes (make docs)
    .venv/bin/python -m docs.generate --check    # compares with what is on disk (make lint)

- `docs/recipe.md`: every key of the recipe, from the descriptions in its model.
- `docs/cli.md`: every command with its options, as its help shows them.
- `schemas/recipe.schema.json`: the JSON Schema by which editors complete and check a recipe.
- `SECTIONS`: parts of other pages, such as a table of rules, each between two comments.

A new key, command or option is picked up by itself. One that does not say what it means fails here,
and so does a file that is not what the code would write.
"""

import argparse
import ast
import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from corpus.checks.gates import GATES
from corpus.errors import SympatheiaError
from corpus.evaluation.measures.registry import JUDGE, MEASURES
from corpus.plan.recipe_keys import (
    RecipeKey,
    recipe_keys,
    recipe_schema,
    recipe_sections,
    require_meanings,
)
from corpus.plan.rules import Rule
from corpus.preflight.disk import DISK
from corpus.preflight.environment import ENVIRONMENT
from corpus.preflight.findings import Check
from corpus.preflight.hearing_judges import JUDGES
from corpus.preflight.remote_services import PLACES
from corpus.preflight.text_servers import ANSWERED, LISTED
from corpus.preflight.voices import VOICES
from corpus.sound.clip_rejection_rules import CLIP_RULES
from corpus.text.annotation.empathy import ANNOTATION_RULES
from corpus.text.wording.text_rejection_rules import QUERY_RULES, RESPONSE_RULES
from flows.cli.main import cli
from schemas.recipe import SERVING

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 100
"""Columns of a command's help, whatever the terminal of who runs this."""

HEAD = ("key", "value", "default", "meaning")
NOTE = "<!-- Written by `make docs` from the code: change it there. -->"


def files() -> dict[Path, str]:
    """Every file that is written here, relative to the repository, and what it holds."""
    written = {
        Path("docs/recipe.md"): recipe_page(),
        Path("docs/cli.md"): cli_page(),
        Path("schemas/recipe.schema.json"): json.dumps(recipe_schema(), indent=2) + "\n",
    }
    for page, parts in SECTIONS.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        for name, part in parts.items():
            text = with_section(text, name, part())
        written[page] = text
    return written


def with_section(page: str, name: str, body: str) -> str:
    """A page with a generated part put between `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Raises:
        SympatheiaError: the page has no such place.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SympatheiaError(f"The page has no place for '{name}': it needs {begin} and {end}.")
    return f"{before}{begin}\n{body.strip()}\n{end}{after}"


# The recipe


def recipe_page() -> str:
    """The page of every recipe key.

    Raises:
        SympatheiaError: a key does not say what it means.
    """
    keys = recipe_keys()
    require_meanings(keys)
    needed = ", ".join(f"`{key.name}`" for key in keys if key.required)
    lines = [
        "# Every recipe key",
        NOTE,
        f"A recipe is a TOML file. What has to be in it: {needed}. The bundled `demo` and "
        "`sympatheia-18k` are good to start from. On the command line `--set KEY=VALUE` overrides "
        "any key, VALUE being TOML: text needs quotes of its own, as in `--set "
        "'llm.model=\"Qwen/Qwen3-32B\"'`. `sympatheia recipe keys` prints what is on this page, "
        "`sympatheia recipe show RECIPE` a recipe with the origin of each value.",
        "Editors with a TOML language server (Taplo, Even Better TOML) complete and check a recipe "
        "whose first line is `#:schema PATH/TO/schemas/recipe.schema.json`.",
        "Keys of `llm`, `speech` and `speech.judge` that say who answers and how fast, and shape "
        "nothing of what is made, so that they may change between two builds of a run: "
        f"{', '.join(f'`{name}`' for name in sorted(SERVING))}.",
    ]
    for section, said in {"": "", **recipe_sections()}.items():
        if section:
            lines += [f"## `{section}`", said]
        rows = [_row(key) for key in keys if key.name.rpartition(".")[0] == section]
        lines.append("\n".join([table_row(*HEAD), table_row(*["---"] * len(HEAD)), *rows]))
    return "\n\n".join(lines) + "\n"


def _row(key: RecipeKey) -> str:
    default = key.default_in_words.removeprefix("default ")
    default = default if key.required else f"`{default}`"
    return table_row(f"`{key.name}`", key.kind, default, key.meaning)


def table_row(*cells: str) -> str:
    """A row of a table, whatever is in its cells."""
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


# The command line


def cli_page() -> str:
    """The page of every command.

    Raises:
        SympatheiaError: a command or an option does not say what it does.
    """
    lines = [
        "# Every command",
        NOTE,
        "As `--help` shows them. Results go to standard output, progress and errors to standard "
        "error. Exit codes: 0 done; 1 the work or a gate failed; 2 wrong usage, recipe or prompts; "
        "130 stopped with Ctrl-C, 143 by SIGTERM, 129 by SIGHUP. An error is a sentence; "
        "`--debug`, anywhere in the command, shows its trace.",
    ]
    for context in commands():
        _require_help(context.command)
        lines += [f"## `{context.command_path}`", f"```\n{context.get_help()}\n```"]
    return "\n\n".join(lines) + "\n"


def commands() -> Iterator[click.Context]:
    """Every command in a context of its own, a group before what is in it."""
    yield from _walk(
        cli.make_context("sympatheia", [], resilient_parsing=True, terminal_width=WIDTH)
    )


def _walk(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from _walk(command.make_context(name, [], context, resilient_parsing=True))


def _require_help(command: click.Command) -> None:
    silent = [
        option.opts[-1]
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    if silent or not command.help:
        what = f"its {', '.join(silent)}" if silent else "it"
        raise SympatheiaError(f"The command '{command.name}': {what} has no help. Write some.")


# Parts of pages


def wings_table() -> str:
    """The wings of `corpus/`, from the top floor down, with what their modules say they are."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [found["layers"] for found in contracts["contracts"] if "containers" in found]
    rows = [table_row("wing", "its question", "rooms"), table_row(*["---"] * 3)]
    for layer in layers:
        wing = ROOT / "corpus" / layer
        path = wing / "__init__.py" if wing.is_dir() else wing.with_suffix(".py")
        said = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        rooms = sorted(one.stem for one in wing.glob("[!_]*.py"))
        rooms += sorted(f"{one.parent.name}/" for one in wing.glob("*/__init__.py"))
        name = f"`{path.relative_to(ROOT).as_posix().removesuffix('__init__.py')}`"
        rows.append(table_row(name, said, ", ".join(f"`{room}`" for room in rooms)))
    return "\n".join(rows)


def rules_table(registry: Sequence[Rule[Any]]) -> str:
    """A registry of rules: what each refuses, and at which limit."""
    rows = [table_row("rule", "what it refuses", "limit"), table_row(*["---"] * 3)]
    for rule in registry:
        most = "at least" if rule.least else "at most"
        limit = "" if rule.limit is None else f"{most} {rule.limit:,g} {rule.unit}".rstrip()
        rows.append(table_row(f"`{rule.name}`", rule.about, limit))
    return "\n".join(rows)


def text_rules() -> str:
    """The rules of texts: those of both kinds, and of either."""
    parts = (
        ("Of queries and responses:", [rule for rule in QUERY_RULES if rule in RESPONSE_RULES]),
        ("Of queries alone:", [rule for rule in QUERY_RULES if rule not in RESPONSE_RULES]),
        ("Of responses alone:", [rule for rule in RESPONSE_RULES if rule not in QUERY_RULES]),
    )
    return "\n\n".join(f"{title}\n\n{rules_table(rules)}" for title, rules in parts)


def gates_table() -> str:
    """The registry of gates: what each counts or measures, and the most that passes."""
    rows = [table_row("gate", "what it counts or measures", "at most", "what to know")]
    rows.append(table_row(*["---"] * 4))
    for gate in GATES:
        limit = "the recipe's" if gate.limit is None else f"{gate.limit:,.12g}"
        rows.append(table_row(f"`{gate.name}`", gate.counts, limit, gate.about))
    return "\n".join(rows)


def checks_table() -> str:
    """What `sympatheia doctor` looks at; a build looks at what has a mark."""
    rows = [table_row("check", "what it looks at", "every build"), table_row(*["---"] * 3)]
    machine: Sequence[Check[Any]] = (*ENVIRONMENT, *DISK, *PLACES)
    servers: Sequence[Check[Any]] = (*LISTED, *ANSWERED, *VOICES, *JUDGES)
    for check in (*machine, *servers):
        rows.append(table_row(f"`{check.name}`", check.about, "yes" if check.cheap else ""))
    return "\n".join(rows)


def measures_table() -> str:
    """The registry of measures of an evaluation."""
    rows = [table_row("measure", "what it says"), table_row(*["---"] * 2)]
    rows += [table_row(f"`{measure.name}`", measure.about) for measure in MEASURES]
    judge = "Grades of a model that hears, by rubric and emotion; where one is named."
    return "\n".join([*rows, table_row(f"`{JUDGE}`", judge)])


SECTIONS: Mapping[Path, Mapping[str, Callable[[], str]]] = {
    Path("docs/build.md"): {"checks": checks_table},
    Path("docs/contributing.md"): {"wings": wings_table},
    Path("docs/evaluate.md"): {"measures": measures_table},
    Path("docs/quality.md"): {
        "text rules": text_rules,
        "annotation rules": lambda: rules_table(ANNOTATION_RULES),
        "clip rules": lambda: rules_table(CLIP_RULES),
        "gates": gates_table,
    },
}
"""Pages with generated parts: the name of each part, and what writes it. A registry of rules goes
into its place in docs/quality.md by `rules_table`."""


# Writing and comparing


def differing(written: Mapping[Path, str], root: Path) -> list[str]:
    """Names of the files that are not on disk as they would be written."""
    return [
        str(path)
        for path, text in written.items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    ]


def main() -> None:
    """Writes the files, or with --check only says which are not as they should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="Write nothing; fail if files differ.")
    check = parser.parse_args().check
    try:
        written = files()
    except SympatheiaError as error:
        sys.exit(f"Error: {error}")
    wrong = differing(written, ROOT)
    if check and wrong:
        sys.exit(f"Error: {', '.join(wrong)} is not what the code says. Run 'make docs'.")
    for name in wrong:
        (ROOT / name).write_text(written[Path(name)], encoding="utf-8")
        sys.stdout.write(f"{name} is written anew.\n")


if __name__ == "__main__":
    main()
