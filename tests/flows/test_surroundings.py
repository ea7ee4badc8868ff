"""A build where the environment is against it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from corpus.servers import proxies
from flows import surroundings
from tests.support.fake_servers import FakeTextServer
from tests.support.line import SYMPATHEIA, write_recipe

NOWHERE = "http://127.0.0.1:9"
HOSTILE = {
    "http_proxy": NOWHERE,
    "ALL_PROXY": "socks://127.0.0.1:7891/",
    "SSL_CERT_FILE": "/gone/cacert.pem",
    "XDG_CACHE_HOME": "",
    "HF_HOME": "",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
}
NOBODY = """
import pwd
def getpwuid(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = getpwuid
"""


def build(tmp_path, until, drop=(), **variables):
    here = tmp_path / "here"
    here.mkdir()
    kept = {name: text for name, text in os.environ.items() if name not in drop}
    with FakeTextServer() as server:
        recipe = write_recipe(tmp_path / "r.toml", server.base_url, anchors=("sad",))
        options = ("--run-dir", tmp_path / "Läufe", "--until", until)
        done = subprocess.run(
            [SYMPATHEIA, "build", recipe, *options],
            env=kept | {name: str(value) for name, value in variables.items()},
            cwd=here,
            capture_output=True,
            timeout=180,
        )
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert [*here.iterdir()] == []
    return said


def test_what_bars_the_way_elsewhere_does_not_bar_it_here(tmp_path):
    said = build(tmp_path, "queries", drop=("no_proxy", "NO_PROXY"), **HOSTILE)
    assert f"The queries are in {tmp_path / 'Läufe'}" in said
    log = (tmp_path / "Läufe" / "log.jsonl").read_text(encoding="utf-8")
    assert json.loads(log.splitlines()[-1])["event"] == "build done"


def test_a_process_of_nobodys_needs_no_home(tmp_path):
    nobody = tmp_path / "python"
    nobody.mkdir()
    (nobody / "sitecustomize.py").write_text(NOBODY)
    path = os.pathsep.join(filter(None, [str(nobody), os.environ.get("PYTHONPATH")]))
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folders = {"PREFECT_HOME": tmp_path / "prefect", "XDG_CACHE_HOME": cache}
    build(tmp_path, "plan", drop=("HOME",), PYTHONPATH=path, **folders)
    assert not (tmp_path / "prefect").exists()


@pytest.fixture
def environment(monkeypatch):
    """An environment that may be changed at will."""
    kept = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    monkeypatch.setattr(os, "environ", kept)
    monkeypatch.setattr(proxies, "_set_aside", {})
    return kept


@pytest.mark.parametrize("value", ["", "cache", "./cache"])
def test_a_cache_that_is_no_whole_path_is_as_if_unset(environment, value):
    environment["XDG_CACHE_HOME"] = value
    surroundings._forget_nothings()
    assert "XDG_CACHE_HOME" not in environment


@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE", "PREFECT_HOME"])
def test_a_folder_that_is_set_to_nothing_is_as_if_unset(environment, name):
    environment[name] = " "
    surroundings._forget_nothings()
    assert name not in environment
    environment[name] = "mine"
    surroundings._forget_nothings()
    assert environment[name] == "mine"


def test_this_machine_is_excepted_from_the_proxies_there_are(environment):
    surroundings._clear_the_way()
    assert "no_proxy" not in environment
    environment |= {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".lan"}
    surroundings._clear_the_way()
    assert environment["no_proxy"] == environment["NO_PROXY"] == ".lan,localhost,127.0.0.1,::1"
    assert environment["HTTPS_PROXY"] == "http://proxy:3128"


STUCK = """
import os, signal, time
from flows import surroundings
surroundings.GRACE_SECONDS = 0.2
with (
    surroundings.stoppable(at_last=lambda: os._exit(7)),
    surroundings.last_words(lambda: print("its last words", flush=True)),
):
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        time.sleep(60)  # as a library may, whose server the same signal has ended
"""


def test_what_does_not_stop_is_ended_and_says_so_first():
    ended = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (7, "its last words\n")


LOST = """
import os, signal, time
from flows.surroundings import stoppable, stopped_by

class Gone:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)  # the interrupt is raised here, where Python ignores it

try:
    with stoppable():
        Gone()
        time.sleep(30)
except KeyboardInterrupt:
    print("stopped by", stopped_by().name)
"""


def test_a_stop_that_comes_where_python_ignores_it_is_not_lost():
    done = subprocess.run(
        [sys.executable, "-c", LOST], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("stopped by SIGTERM\n", "")
