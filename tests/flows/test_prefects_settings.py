"""What users have set for Prefect, wherever: a run's own server leaves all of it alone."""

import os
import sqlite3
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from prefect.exceptions import PrefectException

from corpus.errors import SympatheiaError
from flows.services import prefect_server
from tests.support.line import SYMPATHEIA, write_recipe

DATABASE = "sqlite+aiosqlite:///{user}/user.db"
INACTIVE = """
active = "mine"
[profiles.mine]
[profiles.cluster]
PREFECT_API_URL = "http://127.0.0.1:9/api"
"""
COMMENTED = """
active = "mine"
[profiles.mine]
# PREFECT_API_URL = "http://127.0.0.1:9/api"
"""
OF_A_PROFILE = f"""
active = "mine"
[profiles.mine]
PREFECT_SERVER_DATABASE_CONNECTION_URL = "{DATABASE}"
# and somewhere else a PREFECT_API_URL
"""

# Several at a time, because each build takes seconds: whichever is heeded is found.
THEIRS = {  # files of the user's and of the present folder, and variables
    "an address in an inactive profile, a database, a login": (
        {"home/.prefect/profiles.toml": INACTIVE},
        {"PREFECT_API_DATABASE_CONNECTION_URL": DATABASE, "PREFECT_SERVER_API_AUTH_STRING": "a:b"},
    ),
    "an address in a comment, databases in .env and in small letters": (
        {
            "home/.prefect/profiles.toml": COMMENTED,
            "here/.env": f"PREFECT_SERVER_DATABASE_CONNECTION_URL={DATABASE}\n",
        },
        {"prefect_server_database_connection_url": DATABASE},
    ),
    "databases in the profile and in prefect.toml": (
        {
            "home/.prefect/profiles.toml": OF_A_PROFILE,
            "here/prefect.toml": f'[server.database]\nconnection_url = "{DATABASE}"\n',
        },
        {},
    ),
    "a value that is none": ({}, {"PREFECT_SERVER_API_PORT": "many"}),
}


def build(tmp_path, files, variables):
    """A build that needs Prefect and no other server, by a user with a home and a folder."""
    for name, text in {"home/.keep": "", "here/.keep": "", **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{user}", str(tmp_path)))
    with sqlite3.connect(tmp_path / "user.db") as user:
        user.execute("create table mine (a int)")
    before = everything(tmp_path)
    recipe = write_recipe(tmp_path / "r.toml", "http://127.0.0.1:9/v1")
    mine = {name: text.replace("{user}", str(tmp_path)) for name, text in variables.items()}
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    done = subprocess.run(
        [SYMPATHEIA, "build", recipe, "--run-dir", tmp_path / "run", "--until", "plan"],
        env=os.environ | {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": cache} | mine,
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        timeout=180,
    )
    after = everything(tmp_path)
    assert {name: after.get(name) for name in before} == before
    made = {name.split("/")[0] for name in after if name not in before}
    assert made <= {"r.toml", "run"}
    return done


def everything(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize(("files", "variables"), THEIRS.values(), ids=THEIRS)
def test_a_server_of_the_runs_own_touches_nothing_of_the_users(tmp_path, files, variables):
    done = build(tmp_path, files, variables)
    assert done.returncode == 0, done.stderr


class NoApi(BaseHTTPRequestHandler):
    """A server that is there, but is none of Prefect's: a page for every address."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome")

    def log_message(self, *_):
        pass


@pytest.fixture
def elsewhere():
    with HTTPServer(("127.0.0.1", 0), NoApi) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_of_the_users_that_is_down_is_named(tmp_path):
    profile = COMMENTED.replace("# ", "")
    done = build(tmp_path, {"home/.prefect/profiles.toml": profile}, {})
    assert done.returncode == 1
    assert "The Prefect server at http://127.0.0.1:9/api cannot be used" in done.stderr
    assert "PREFECT_API_URL" in done.stderr
    assert "defect" not in done.stderr


def test_an_address_that_is_none_of_prefects_is_named(tmp_path, elsewhere):
    done = build(tmp_path, {}, {"PREFECT_API_URL": elsewhere.replace("://", "://me:secret@")})
    assert done.returncode == 1
    assert f"The Prefect server at {elsewhere.replace('://', '://***@')} cannot be" in done.stderr
    assert "it ends in /api" in done.stderr
    assert "secret" not in done.stderr


def test_settings_that_cannot_be_read_are_said_to(tmp_path):
    done = build(tmp_path, {"here/prefect.toml": "[api\n"}, {})
    assert done.returncode == 2
    assert "What is set for Prefect cannot be read" in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("connection refused"),
        PrefectException("connection refused"),
        RuntimeError("connection refused. Failed to reach API at http://127.0.0.1:9/api"),
    ],
)
def test_a_server_that_goes_in_mid_run_is_told_of(error):
    gone = prefect_server._told("Prefect's server", "Mend it")
    with pytest.raises(SympatheiaError, match=r"server failed \(connection refu.* Mend it"), gone:
        raise error


def test_a_defect_of_ours_is_none_of_prefects():
    told = prefect_server._told("Prefect's server", "Mend it")
    with pytest.raises(RuntimeError, match="a defect"), told:
        raise RuntimeError("a defect")
