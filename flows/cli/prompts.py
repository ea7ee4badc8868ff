"""What a run is made from: anchors list and check, preview, recipe show and keys."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.common import AS_JSON, OVERRIDES, WrittenPath

if TYPE_CHECKING:
    from corpus.plan.prompt_files import Prompts

PROMPTS_OPTION = click.option(
    "--prompts",
    type=WrittenPath(path_type=Path),
    help="A prompts folder; the bundled one if not given.",
)


@click.group()
def anchors() -> None:
    """List or check the anchors of a prompts folder."""


@anchors.command("list")
@PROMPTS_OPTION
def list_anchors(prompts: Path | None) -> None:
    """List the anchors with their coordinates and styles."""
    from flows.cli.status_tables import print_anchors

    for loaded in _every_template_set(prompts)[:1]:
        print_anchors(loaded.anchors)


@anchors.command("check")
@PROMPTS_OPTION
def check_anchors(prompts: Path | None) -> None:
    """Check that a prompts folder is complete and consistent."""
    sets = _every_template_set(prompts)
    click.echo(
        f"{sets[0].folder}: {len(sets[0].anchors)} anchors, {len(sets[0].topics)} topics, "
        f"templates {', '.join(loaded.template_set for loaded in sets)}: all in order."
    )


def _every_template_set(folder: Path | None) -> list["Prompts"]:
    from corpus.plan.prompt_files import BUNDLED, load_prompts, template_sets
    from corpus.plan.subsets.registry import require_rendered, there

    folder = folder or BUNDLED
    # A folder without any set is refused by name, as one without the usual set.
    sets = [
        load_prompts(folder, name, there(folder, name))
        for name in template_sets(folder) or ["full"]
    ]
    for loaded in sets:
        require_rendered(loaded)
    return sets


@click.command()
@click.argument("recipe")
@click.option("--anchor", required=True, help="The anchor to preview.")
@click.option("-n", "count", type=click.IntRange(0, 20), default=1, help="How many sample pairs.")
@OVERRIDES
def preview(recipe: str, anchor: str, count: int, overrides: tuple[str, ...]) -> None:
    """Show the prompts of an anchor and some sample pairs, without writing a run."""
    from corpus.plan.blueprint import Blueprint
    from flows.cli.prompt_preview import print_preview

    print_preview(Blueprint.named(recipe, overrides), anchor, count)


@click.group()
def recipe() -> None:
    """Show a recipe, or what a recipe can say."""


@recipe.command("show")
@click.argument("name_or_path", metavar="RECIPE")
@OVERRIDES
def show_recipe(name_or_path: str, overrides: tuple[str, ...]) -> None:
    """Print RECIPE in full, each value with its origin.

    The origin is 'default', 'file' or 'override' (of --set). What is printed is a recipe itself.
    """
    from corpus.plan.recipe_listing import recipe_listing

    click.echo(recipe_listing(name_or_path, overrides), nl=False)


@recipe.command("keys")
@AS_JSON
def list_recipe_keys(as_json: bool) -> None:
    """Print every key with type, range, default, meaning."""
    from corpus.plan.recipe_keys import keys_as_data, recipe_keys

    keys = recipe_keys()
    if as_json:
        click.echo(json.dumps(keys_as_data(keys), indent=2))
        return
    for key in keys:
        click.echo(f"{key.name}  ({key.kind}; {key.default_in_words})")
        click.echo(click.wrap_text(key.meaning, initial_indent="    ", subsequent_indent="    "))
