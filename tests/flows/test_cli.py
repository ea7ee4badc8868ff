"""The command line's manners: exit codes, sentences, and where output goes."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import click
import pytest
from pydantic import ValidationError

from corpus.errors import SympatheiaError
from corpus.run.release import LOCK
from flows.cli.common import WrittenPath
from flows.cli.main import cli
from flows.cli.status_tables import read_status
from flows.orders import resolve
from schemas.orders import CorpusOrder
from tests.support.fake_servers import FakeTextServer
from tests.support.line import copy_prompts, sympatheia, typed, write_recipe, write_run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["build"], "Missing argument 'RECIPE'"),
        (["build", "dmo"], "There is no recipe 'dmo'"),
        (["build", "demo", "--until", "lunch"], "'lunch' is not one of 'plan', 'queries'"),
        (["build", "demo", "--set", "split.eval_fraction=0.25"], "split.eval_fraction"),
        (["build", "demo", "--set", "emotional.pairs=3"], "emotional.pairs: unknown key"),
        (["build", "demo", "--set", 'anchors=["gloomy"]'], "'gloomy' is not an anchor"),
        (["build", "demo", "--set", 'prompts="/nowhere"'], "/nowhere does not exist"),
        (["build", "demo", "--set", 'llm.templates="huge"'], "no set 'huge'; it has full, small"),
        (["build", "demo", "--set", 'speech.query_voice="Ryan"'], "no speaker 'Ryan'"),
        (
            ["build", "demo", "--set", "text.rules.to_long=9"],
            "text.rules.to_long: there is no such",
        ),
        (["build", "demo", "--set", "text.rules.list=9"], "text.rules.list = 9.0: the rule has no"),
        (["status", "/nowhere"], "/nowhere"),
        (["preview", "demo", "--anchor", "gloomy"], "'gloomy' is not an anchor"),
        (["preview", "demo", "--anchor", "sad", "-n", "99"], "99"),
        (["serve", "text", "--port", "0"], "--port"),
        (["dance"], "No such command 'dance'"),
        (["anchors", "check", "--prompts", "/nowhere"], "/nowhere does not exist"),
    ],
)
def test_wrong_usage_is_exit_2_and_a_sentence(tmp_path, arguments, says):
    if arguments[0] == "build":
        arguments = [*arguments, "--run-dir", tmp_path / "run"]
    ran = typed(*arguments)
    assert ran.returncode == 2, ran.stderr
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    assert not (tmp_path / "run" / "store").exists()


def test_a_key_that_is_not_there_is_named(shared_prefect, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "http://127.0.0.1:9/v1")
    key = 'llm.api_key_env="NO_SUCH_KEY"'
    ran = sympatheia("build", recipe, "--run-dir", tmp_path / "run", "--set", key)
    assert ran.returncode == 2, ran.stderr
    assert "NO_SUCH_KEY" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_path_is_not_the_present_folder(empty):
    for command in (["build", "demo", "--run-dir", empty], ["export", "/", empty]):
        with pytest.raises(click.BadParameter, match="no path is given"):
            cli.main(command, standalone_mode=False)
    with pytest.raises(ValidationError, match="no path is given"):
        CorpusOrder(run_dir=empty)


def test_a_tilde_in_a_path_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert WrittenPath(path_type=Path).convert("~/run", None, None) == tmp_path / "run"
    assert resolve(CorpusOrder(run_dir="~/run")).folder.root == tmp_path / "run"
    with pytest.raises(click.BadParameter, match="'~nobody-at-all/x' begins with is not known"):
        WrittenPath().convert("~nobody-at-all/x", None, None)


def test_a_folder_that_is_no_run_is_said_to_be_none(tmp_path):
    ran = typed("status", tmp_path)
    assert ran.returncode == 2
    assert "is not a run folder" in ran.stderr


def test_help_is_quick_and_on_standard_output():
    ran = sympatheia("--help")
    assert ran.returncode == 0
    assert "build" in ran.stdout
    assert ran.stderr == ""


def test_anchors_list_and_check(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    listed = typed("anchors", "list")
    assert listed.returncode == 0
    assert len(listed.stdout.strip().splitlines()) >= 13
    assert "-0.85" in listed.stdout
    checked = typed("anchors", "check")
    assert "12 anchors, 120 topics" in checked.stdout


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.update(valence=1.5), "anchor 'sad': valence: "),
        (lambda a: a.pop("goal"), "anchor 'sad': goal: missing"),
        (lambda a: a.update(color="blue"), "anchor 'sad': color: unknown key"),
        (lambda a: a.update(name="angry"), "two anchors are named 'angry'"),
        (lambda a: a.update(valence=-0.85, arousal=0.85), "lie at the same point"),
        (lambda a: a.update(name="Very Sad"), "anchor 'Very Sad': name: "),
        (lambda a: a.update(cues=[]), "anchor 'sad': cues: "),
    ],
)
def test_anchors_check_names_what_is_wrong(tmp_path, change, says):
    folder = copy_prompts(tmp_path / "prompts", lambda data: change(data["anchors"][9]))
    ran = typed("anchors", "check", "--prompts", folder)
    assert ran.returncode == 2
    assert says in ran.stderr
    assert str(folder) in ran.stderr


def test_anchors_check_renders_the_templates(tmp_path):
    folder = copy_prompts(tmp_path / "prompts")
    template = folder / "templates" / "full" / "emotional_query.jinja"
    template.write_text(template.read_text() + "{{ anchor.colour }}")
    ran = typed("anchors", "check", "--prompts", folder)
    assert ran.returncode == 2
    assert "emotional_query.jinja" in ran.stderr
    assert "colour" in ran.stderr


IMPATIENT = """
from corpus.servers import retry_and_failover
retry_and_failover.FIRST_ANSWER_SECONDS = 1.5
from flows.cli.main import main
main()
"""


def test_an_absent_server_is_named_with_the_remedy(shared_prefect, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "http://127.0.0.1:9/v1")
    command = [sys.executable, "-c", IMPATIENT, "build", recipe, "--run-dir", tmp_path / "run"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1
    assert "No server answers at http://127.0.0.1:9/v1" in ran.stderr
    assert "llm.endpoints" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_debug_shows_the_trace_wherever_it_stands(tmp_path):
    ran = sympatheia("build", "dmo", "--debug")
    assert "Traceback" in ran.stderr


def test_until_plan_writes_the_resolved_recipe_and_asks_nothing(tmp_path):
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url)
        (tmp_path / "temporary").mkdir()
        ran = sympatheia(
            *("build", recipe, "--run-dir", tmp_path / "run", "--until", "plan"),
            TMPDIR=str(tmp_path / "temporary"),
        )
        assert ran.returncode == 0, ran.stderr
        assert list((tmp_path / "temporary").iterdir()) == []
        assert (tmp_path / "run" / "recipe.toml").exists()
        assert server.count == 0


def test_until_queries_then_status_then_the_rest(shared_prefect, tmp_path):
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url, anchors=("sad",))
        run = tmp_path / "run"
        assert sympatheia("build", recipe, "--run-dir", run, "--until", "queries").returncode == 0
        state = json.loads(typed("status", run, "--json").stdout)
        assert state["building"] is False
        assert state["stages"]["queries"]["done"] == state["stages"]["queries"]["total"] == 7
        cell = state["stages"]["queries"]["cells"]["emotional-sad"]
        assert (cell["done"], cell["total"]) == (4, 4)
        assert cell["acceptance"] == 4 / (4 + cell["refused"])
        assert "responses" not in state["stages"]
        shown = typed("status", run)
        assert "queries" in shown.stdout
        asked = server.count
        assert sympatheia("build", recipe, "--run-dir", run, "--until", "responses").returncode == 0
        assert not {str(b) for b in server.bodies[:asked]} & {str(b) for b in server.bodies[asked:]}


def test_preview_shows_prompts_and_pairs_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url)
        ran = typed("preview", recipe, "--anchor", "tired", "-n", "2")
        assert ran.returncode == 0, ran.stderr
        assert "[system]" in ran.stdout
        assert ran.stdout.count("response: ") == 2
        assert [path.name for path in tmp_path.iterdir()] == ["r.toml"]


@pytest.mark.parametrize("name", ["decisions.jsonl", "rejects.parquet", "progress.json"])
def test_a_damaged_file_of_a_run_is_named_with_the_remedy(tmp_path, name):
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url, anchors=("sad",))
        run = write_run(tmp_path / "run", recipe)
        (run.root / name).write_bytes(b"{what?\n")
        with pytest.raises(SympatheiaError, match=f"{name} is damaged"):
            again(run, recipe, name)
        asked = server.count
        (run.root / name).unlink()
        again(run, recipe, name)
        assert server.count == asked


def again(run, recipe, damaged):
    if damaged == "progress.json":
        return read_status(run)
    return write_run(run.root, recipe)


def test_the_version_tells_the_prompts_and_the_lock(prompts):
    ran = typed("--version")
    assert ran.returncode == 0
    said = dict(line.rsplit(" ", 1) for line in ran.stdout.splitlines())
    assert said["sympatheia-corpus"].count(".") == 2
    assert said["prompts full"] == prompts.digest
    assert said["lock"] == sha256(LOCK.read_bytes()).hexdigest()
