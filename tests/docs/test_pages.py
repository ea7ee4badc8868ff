"""What the README and the pages of docs/ say can be typed, opened and set, and is there."""

import importlib.util
import re
import shlex
import subprocess
from functools import cache
from itertools import pairwise
from pathlib import Path

import click
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from corpus.errors import InvalidInput
from corpus.plan.prompt_files import load_prompts
from corpus.plan.recipe_files import bundled, load_recipe, with_overrides
from corpus.plan.recipe_keys import RecipeKey, recipe_keys, recipe_sections
from docs.generate import ROOT
from flows.cli.main import cli
from tests.support.line import copy_prompts

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
LONGEST_README = 150
SHELL = {"bash"}
"""Blocks with this word behind their fence are to be typed."""
QUOTED_OR_COMMENT = re.compile(r"""('[^']*'|"(?:\\.|[^"])*")|(?:^|(?<=\s))#[^\n]*""", re.MULTILINE)

per_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def tokens(page: Path) -> list[Token]:
    """A page's blocks and, flat among them, what is in its lines."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        found += [token, *(token.children or ())]
    return found


def blocks(page: Path) -> list[str]:
    """The page's blocks of commands."""
    return [t.content for t in tokens(page) if t.type == "fence" and t.info in SHELL]


def code(page: Path) -> list[str]:
    """Code within the page's sentences and tables."""
    return [t.content for t in tokens(page) if t.type == "code_inline"]


def commands(text: str) -> list[list[str]]:
    """The simple commands of a piece of shell, each as its words."""
    text = QUOTED_OR_COMMENT.sub(lambda found: found[1] or "", text.replace("\\\n", " "))
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t\r", "", True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("();|&\n"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def of_program(text: str, program: str) -> list[list[str]]:
    """What stands behind a program's name in each command that runs it."""
    found = []
    for words in commands(text):
        # Others may stand before it that run it, such as nice.
        places = [n for n, word in enumerate(words) if word == f".venv/bin/{program}"]
        if words[0] == program or places:
            found.append(words[(places or [0])[0] + 1 :])
    return found


# Links


def anchors_of(page: Path) -> set[str]:
    """What a link into a page may name, as GitHub makes it of the headings."""
    found = tokens(page)
    heads = [b.content for a, b in pairwise(found) if a.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@per_page
def test_every_relative_link_leads_somewhere(page):
    links = [t.attrs.get("href") or t.attrs.get("src") for t in tokens(page)]
    for link in filter(None, links):
        if "://" in str(link):
            continue
        path, _, anchor = str(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_every_page_can_be_reached_from_the_readme():
    reached, new = set(), {README}
    while new:
        page = new.pop()
        reached.add(page)
        links = {str(t.attrs["href"]).partition("#")[0] for t in tokens(page) if "href" in t.attrs}
        linked = {(page.parent / link).resolve() for link in links if link.endswith(".md")}
        new |= linked - reached
    assert set(PAGES) - reached == set()


@per_page
def test_every_file_of_the_project_that_is_named_is_there(page):
    wings = "benchmarks|corpus|docs|flows|prompts|schemas|tests"
    for said in code(page):
        if re.fullmatch(rf"({wings})/[\w/-]+\.(py|json|toml|yaml|md|txt|jinja)", said):
            assert (ROOT / said).is_file(), said


# Commands


@per_page
def test_blocks_of_commands_are_ones_that_a_shell_can_read(page):
    for block in blocks(page):
        read = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert read.returncode == 0, f"{read.stderr}\n{block}"


@cache
def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z -]*?)(?=:)", (ROOT / "Makefile").read_text(), re.M))


@per_page
def test_every_make_target_is_in_the_makefile(page):
    known = {name for line in targets() for name in line.split()}
    inline = [said for said in code(page) if said.startswith("make ")]
    for text in blocks(page) + inline:
        for words in of_program(text, "make"):
            assert {word for word in words if "=" not in word and word.islower()} <= known, words


def problem(words: list[str], *, whole: bool) -> str | None:
    """What the command line would not take of a command; `whole`: nothing may be missing."""
    command: click.Command = cli
    context = click.Context(cli, info_name="sympatheia")
    words = [word for word in words if word != "--debug"]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        found = command.get_command(context, name)
        if found is None:
            return f"no command '{name}'"
        command, context = found, click.Context(found, parent=context, info_name=name)
    if isinstance(command, click.Group) and whole and not words:
        return "no command of the group"
    try:
        given, _, _ = command.make_parser(context).parse_args(words)
    except click.UsageError as error:
        return error.format_message()
    needed = [param for param in command.params if param.required]
    missing = [
        param.name
        for param in needed
        if param.name not in given or param.value_is_missing(given[param.name])
    ]
    if whole and missing:
        return f"{', '.join(map(str, missing))} missing"
    return _overrides_problem(command.name or "", given) if "overrides" in given else None


def _overrides_problem(command: str, given: dict[str, object]) -> str | None:
    # What a variable of the shell would hold is left out.
    overrides = [re.sub(r"\$\w+", "", one) for one in given["overrides"] or ()]
    overrides = [one for one in overrides if one != "KEY=VALUE"]
    try:
        if command == "train":
            with_overrides(load_recipe("demo"), overrides, ("adapter",))
        elif command != "import":
            recipe = given.get("recipe") or given.get("name_or_path")
            load_recipe(recipe if recipe in bundled() else "demo", overrides)
    except InvalidInput as error:
        return str(error)
    return None


@per_page
def test_every_command_is_one_that_the_command_line_takes(page):
    if page.name == "cli.md":
        return  # it is written from the command line itself
    for block in blocks(page):
        for words in of_program(block, "sympatheia"):
            assert problem(words, whole=True) is None, f"{words}: {problem(words, whole=True)}"
        for words in commands(block):  # arguments that a variable of the shell takes
            if words[0] == "--set":
                assert problem(["build", "sympatheia-18k", *words], whole=True) is None, words
    for said in code(page):
        if said.startswith("sympatheia "):
            for words in of_program(said, "sympatheia"):
                assert problem(words, whole=False) is None, f"{said}: {problem(words, whole=False)}"


@per_page
def test_every_module_that_is_run_is_there(page):
    for block in blocks(page):
        for words in of_program(block, "python"):
            if words[:1] == ["-m"] and words[1].partition(".")[0] in {"benchmarks", "corpus"}:
                assert importlib.util.find_spec(words[1]), words[1]


def test_what_is_wrong_with_a_command_is_found():
    assert problem(["build", "demo", "--until", "speech"], whole=True) is None
    assert "no command 'dance'" in problem(["dance"], whole=True)
    assert "--quick" in problem(["build", "demo", "--quick"], whole=True)
    assert "recipe missing" in problem(["build"], whole=True)
    assert "repo_id missing" in problem(["publish", "runs/demo"], whole=True)
    assert "unknown key" in problem(["build", "demo", "--set", "llm.speed=1"], whole=True)
    assert "not a TOML value" in problem(["build", "demo", "--set", "llm.model=x"], whole=True)
    assert "adapter" in problem(["train", "r", "--base", "b", "--set", "seed=1"], whole=True)
    block = "nice .venv/bin/sympatheia build demo \\\n  --x 'a # b\nc' && make it  # and so on\n"
    assert of_program(block, "sympatheia") == [["build", "demo", "--x", "a # b\nc"]]
    assert of_program(block, "make") == [["it"]]


# Keys and the rest


@cache
def all_keys() -> tuple[dict[str, RecipeKey], dict[str, str]]:
    return {key.name: key for key in recipe_keys()}, recipe_sections()


@per_page
def test_every_recipe_key_that_is_named_is_one(page):
    keys, sections = all_keys()
    known = keys.keys() | sections.keys()
    tables = {name for name, key in keys.items() if key.type == "table"}
    for said in code(page):
        named = re.match(r"([a-z]+(?:\.[a-z_]+)+)(?= *=|$)", said)
        if named and named[1].endswith((".json", ".html")):  # a file is called like a section
            continue
        if named and named[1].partition(".")[0] in sections:
            key = named[1]
            assert key in known or key.rpartition(".")[0] in tables, said


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= LONGEST_README


def test_the_anchor_of_the_readme_is_one_that_can_be_added(tmp_path):
    (entry,) = [t.content for t in tokens(README) if t.type == "fence" and t.info == "yaml"]
    folder = copy_prompts(tmp_path / "prompts")
    with (folder / "anchors.yaml").open("w") as file:
        file.write((ROOT / "prompts" / "anchors.yaml").read_text() + entry)
    for templates in ("full", "small"):
        assert load_prompts(folder, templates).anchors[-1].name == "bored"
