"""What is written from the code: that it is whole, and that lint sees when it is not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import click
import pytest
from pydantic import Field

from corpus.errors import SympatheiaError
from corpus.plan.recipe_keys import recipe_keys
from corpus.plan.rules import Rule
from docs import generate
from schemas.recipe import Recipe


@pytest.fixture(scope="module")
def written() -> dict[Path, str]:
    return generate.files()


def test_what_is_on_disk_is_what_the_code_says(written):
    assert generate.differing(written, generate.ROOT) == []


def test_a_page_that_was_changed_by_hand_is_named(written, tmp_path):
    for path, text in written.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert generate.differing(written, tmp_path) == []
    (tmp_path / "docs" / "cli.md").write_text("# Mine\n")
    (tmp_path / "schemas" / "recipe.schema.json").unlink()
    assert generate.differing(written, tmp_path) == ["docs/cli.md", "schemas/recipe.schema.json"]


def test_lint_passes_what_is_in_order():
    command = [sys.executable, "-m", "docs.generate", "--check"]
    ran = subprocess.run(command, cwd=generate.ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def refusal(monkeypatch, recipe: type[Recipe]) -> str:
    """What lint's command ends with where the recipe were another."""
    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    monkeypatch.setattr(generate, "recipe_keys", lambda: recipe_keys(recipe))
    with pytest.raises(SystemExit) as ended:
        generate.main()
    return str(ended.value)


def test_lint_fails_when_a_key_has_no_meaning(monkeypatch):
    class Silent(Recipe):
        hurry: int = 1

    assert "Without a meaning: hurry." in refusal(monkeypatch, Silent)


def test_lint_fails_when_a_page_lacks_a_key(monkeypatch):
    class Grown(Recipe):
        hurry: Annotated[int, Field(description="Haste.")] = 1

    said = refusal(monkeypatch, Grown)
    assert "docs/recipe.md is not what the code says. Run 'make docs'." in said


def test_every_key_and_every_command_is_on_its_page(written):
    recipe, cli = written[Path("docs/recipe.md")], written[Path("docs/cli.md")]
    for key in recipe_keys():
        assert f"| `{key.name}` |" in recipe
    for context in generate.commands():
        assert f"## `{context.command_path}`\n" in cli
        for option in context.command.params:
            assert not isinstance(option, click.Option) or option.opts[0] in cli
    assert "## `sympatheia serve qwen-tts`" in cli


def test_an_option_without_help_is_refused_by_name(monkeypatch):
    @click.command()
    @click.option("--quickly", is_flag=True)
    def dance() -> None:
        """Dance."""

    monkeypatch.setattr(generate, "commands", lambda: [click.Context(dance)])
    with pytest.raises(SympatheiaError, match="'dance': its --quickly has no help"):
        generate.cli_page()


def test_the_schema_is_json_with_its_dialect(written):
    schema = json.loads(written[Path("schemas/recipe.schema.json")])
    assert schema["$schema"].endswith("2020-12/schema")


def test_a_part_of_a_page_is_replaced_between_its_marks_alone():
    page = "# Rules\n\n<!-- begin text -->\nold\n<!-- end text -->\n\nMore.\n"
    once = generate.with_section(page, "text", "| a |\n")
    assert once == "# Rules\n\n<!-- begin text -->\n| a |\n<!-- end text -->\n\nMore.\n"
    assert generate.with_section(once, "text", "| a |\n") == once
    with pytest.raises(SympatheiaError, match="no place for 'clips'"):
        generate.with_section(page, "clips", "")


def test_a_registry_of_rules_becomes_a_table():
    registry = [
        Rule("too_long", len, "More words than | one says.", 45, unit="words"),
        Rule("too_short", len, "Hardly anything.", 4, least=True, unit="words"),
        Rule("markdown", bool, "Marks for the eye."),
    ]
    assert generate.rules_table(registry).splitlines()[2:] == [
        r"| `too_long` | More words than \| one says. | at most 45 words |",
        "| `too_short` | Hardly anything. | at least 4 words |",
        "| `markdown` | Marks for the eye. |  |",
    ]


def test_each_generated_part_has_its_place(written):
    for page, parts in generate.SECTIONS.items():
        assert all(f"<!-- begin {name} -->" in written[page] for name in parts)
