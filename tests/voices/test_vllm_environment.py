"""Where the vLLM of a run is looked for."""

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from corpus.errors import InvalidInput
from corpus.plan.recipe_files import load_recipe
from corpus.voices import vllm_environment
from corpus.voices.vllm_environment import MADE, vllm_python

ROOT = Path(__file__).parents[2]


@pytest.fixture
def made(monkeypatch, tmp_path):
    monkeypatch.setattr(vllm_environment, "MADE", tmp_path / "python")
    return tmp_path / "python"


def test_the_python_that_is_named_is_taken(made):
    made.touch()
    assert vllm_python("/opt/vllm/bin/python") == "/opt/vllm/bin/python"


def test_the_environment_of_the_project_is_found_by_itself(made):
    made.touch()
    assert vllm_python("") == str(made)


def test_else_the_python_that_builds_is_taken_if_it_has_one(made, monkeypatch):
    monkeypatch.setattr(vllm_environment, "find_spec", lambda name: name)
    assert vllm_python("") == sys.executable


def test_where_there_is_none_the_sentence_says_how_to_have_one(made):
    with pytest.raises(InvalidInput, match=f"neither at {made} nor .* 'make setup-vllm'"):
        vllm_python("")


def test_it_is_where_make_puts_it():
    makefile = (ROOT / "Makefile").read_text()
    assert MADE == ROOT / ".venv-vllm" / "bin" / "python"
    assert "VLLM := .venv-vllm\nsetup-vllm: $(VLLM)/.ready\n" in makefile


def test_a_run_starts_one_where_it_is_told_to_or_a_python_is_named():
    none = load_recipe("demo").llm.vllm
    told = load_recipe("demo", ["llm.vllm.start=true"]).llm.vllm
    named = load_recipe("demo", ['llm.vllm.python="/opt/vllm/bin/python"']).llm.vllm
    assert (none.started, told.started, named.started) == (False, True, True)
    with pytest.raises(InvalidInput, match="llm.endpoints and llm.vllm.start are both given"):
        load_recipe("sympatheia-18k", ["llm.vllm.start=true"])


def test_the_lock_has_one_version_of_each_package_for_each_python():
    lines = (ROOT / "requirements-vllm.lock").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for version in ("3.11", "3.12", "3.13"):
        meant = [
            one
            for one in pinned
            if one.marker is None or one.marker.evaluate({"python_version": version})
        ]
        names = [one.name for one in meant]
        assert len(names) == len(set(names))
        assert {"vllm", "torch", "numpy", "transformers"} <= set(names)
        assert all([found.operator for found in one.specifier] == ["=="] for one in meant)
