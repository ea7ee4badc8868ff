"""How large a room may be: what keeps the project readable is held here, not remembered."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("corpus", "flows", "schemas")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
MAX_MODULES = 12

FILES = sorted(path for part in CODE for path in (ROOT / part).rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> list[Function]:
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, Function)]


def test_no_file_is_longer_than_a_reader_keeps_in_mind():
    python = [
        path for part in (*CODE, "tests", "benchmarks") for path in (ROOT / part).rglob("*.py")
    ]
    long = {named(p): n for p in python if (n := len(p.read_text().splitlines())) > MAX_FILE_LINES}
    assert long == {}


def test_no_function_needs_a_table_of_contents():
    long = {
        f"{named(path)}:{function.name}": length
        for path in FILES
        for function in functions(path)
        if (length := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert long == {}


def is_apart(path: Path, function: Function) -> bool:
    """Commands of the command line, constructors, and a network's forward."""
    return path.parent.name == "cli" or function.name in ("__init__", "forward")


def test_what_travels_together_is_a_noun():
    many = {}
    for path in FILES:
        for function in functions(path):
            given = function.args
            names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            own = [name for name in names if name not in ("self", "cls")]
            if len(own) > MAX_PARAMETERS and not is_apart(path, function):
                many[f"{named(path)}:{function.name}"] = len(own)
    assert many == {}


@pytest.mark.parametrize("part", CODE)
def test_no_folder_is_a_crowd(part):
    modules = Counter(named(p.parent) for p in FILES if p.stem != "__init__" and part in p.parts)
    assert {folder: n for folder, n in modules.items() if n > MAX_MODULES} == {}


@pytest.mark.parametrize("folder", sorted(p.parent for p in (ROOT / "corpus").rglob("__init__.py")))
def test_a_wing_says_its_question_and_nothing_else(folder):
    tree = ast.parse((folder / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1
