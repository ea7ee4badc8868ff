"""Folders that are none, and what a crash of an earlier release may have left in one."""

import os

import pytest

from corpus.errors import InvalidInput, SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from flows.work import at_work
from tests.support.line import typed


@pytest.fixture(scope="module")
def demo():
    return Blueprint.named("demo")


@pytest.mark.parametrize("to", ["run", "gone"])
def test_a_run_folder_that_is_a_link_to_nowhere_is_said_to_be_one(tmp_path, demo, to):
    (tmp_path / "run").symlink_to(to)
    with (
        pytest.raises(SympatheiaError, match="run is a link that leads nowhere, or a file. Remove"),
        at_work(RunFolder(tmp_path / "run"), demo, "plan"),
    ):
        pass
    assert typed("status", tmp_path / "run").returncode == 2


def test_a_name_that_is_not_utf_8_is_refused_with_it(tmp_path):
    name = os.fsdecode(b"l\xe4ufe")
    (tmp_path / name).mkdir()
    for command in (("status", tmp_path / name), ("build", "demo", "--run-dir", tmp_path / name)):
        ran = typed(*command)
        assert ran.returncode == 2
        assert "l\\udce4ufe' is not UTF-8" in ran.stderr
    assert list((tmp_path / name).iterdir()) == []


def test_names_that_are_utf_8_are_taken(tmp_path, demo):
    with at_work(RunFolder(tmp_path / "Läufe"), demo, "plan"):
        pass
    assert typed("status", tmp_path / "Läufe").returncode == 0


@pytest.mark.parametrize("left", [b"", b"\0" * 300])
def test_an_empty_recipe_is_none(tmp_path, demo, left):
    run = RunFolder(tmp_path)
    run.recipe.write_bytes(left)
    with pytest.raises(InvalidInput, match="is not a run folder: it has no recipe.toml"):
        run.read_recipe()
    run.adopt(demo)
    assert run.read_recipe().name == "demo"
    run.recipe.write_bytes(left)
    run.decisions.touch()
    with pytest.raises(InvalidInput, match="a run's work but no recipe.toml. Put the file back"):
        run.adopt(demo)


@pytest.mark.parametrize("left", [b"", b"\0" * 80])
def test_progress_that_a_crash_emptied_stops_no_build(tmp_path, demo, left):
    run = RunFolder(tmp_path)
    run.progress.write_bytes(left)
    with at_work(run, demo, "plan"):
        pass
    assert "progress.json is damaged" in run.log.read_text()
    assert typed("status", tmp_path).returncode == 0
