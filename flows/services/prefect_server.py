"""Prefect's API for this process: the user's own server, or one of the run's own.

A server of the run's own knows nothing of what the user has set for Prefect, in variables, profiles
or files: it must never write into a database of theirs.
"""

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import metadata
from pathlib import Path

from corpus.compute.worker_processes import stopped_later
from corpus.errors import InvalidInput, SympatheiaError
from corpus.run.cache_folder import cache_folder
from corpus.store.files import write_whole
from flows.services.child import Child, Kind

ANSWER_SECONDS = 15.0
"""How long a server of the user's may take to say that it is there."""

SERVER = Kind("prefect", "/api/health")

# Prefect in a child or in this process: silent, offline, and nothing sent to anyone.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}


@contextmanager
def prefect_api() -> Iterator[None]:
    """Prefect's API for as long as the block runs.

    While a server of the run's own comes up, this process imports Prefect. It keeps its data in a
    temporary folder: what a run must remember is in its run folder.

    Raises:
        InvalidInput: what the user has set for Prefect cannot be read.
        SympatheiaError: the server does not come up, does not answer, or is gone in mid-run.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    theirs = _theirs() if _may_have_one() else None
    if theirs:
        _require_answer(theirs)
        with _told(f"The Prefect server at {theirs}", "See that it is up"):
            yield
        return
    home = tempfile.mkdtemp(prefix="sympatheia-prefect-")  # the child removes it
    try:
        with (
            tempfile.TemporaryFile() as log,
            Child(SERVER, [home], log) as child,
            _this_process(home, f"{child.address}/api"),
        ):
            child.ready()
            with _told("The Prefect server of this run", "Free some memory"):
                yield
    finally:
        shutil.rmtree(home, ignore_errors=True)  # unless it was killed


def _may_have_one() -> bool:
    """Whether a server of the user's may be set anywhere; Prefect itself knows, but is slow."""
    if any(name.upper() == "PREFECT_API_URL" for name in os.environ):
        return True
    home = os.environ.get("PREFECT_HOME") or Path.home() / ".prefect"
    mentions = {
        Path(os.environ.get("PREFECT_PROFILES_PATH") or Path(home, "profiles.toml")): "api_url",
        Path(".env"): "prefect_",
        Path("prefect.toml"): "",
        Path("pyproject.toml"): "tool.prefect",
    }
    return any(
        path.is_file() and word in path.read_text(encoding="utf-8", errors="replace").lower()
        for path, word in mentions.items()
    )


def _import_prefect() -> None:
    """Imports what takes the time: stopped halfway, Prefect prints a trace and goes on."""
    with stopped_later():
        import prefect.client.orchestration
        import prefect.flows  # noqa: F401


def _theirs() -> str | None:
    """The address that the user has set for Prefect, if they have."""
    try:
        _import_prefect()
        from prefect.settings import get_current_settings

        return get_current_settings().api.url
    except ValueError as error:  # of pydantic's, for a value; of TOML's, for a file
        why = " ".join(str(error).split())[:300]
        raise InvalidInput(
            f"What is set for Prefect cannot be read: {why}. Correct the PREFECT_ variables, the "
            "profile, or the prefect.toml or .env of this folder, or remove them."
        ) from None


@contextmanager
def _this_process(home: str, api: str) -> Iterator[None]:
    """Has Prefect in this process know a server, and keep what it keeps in a folder."""
    for name in [name for name in os.environ if _is_theirs(name)]:
        del os.environ[name]
    # Threads read the variables, and this one has settings of its own if Prefect was there before.
    os.environ |= {"PREFECT_HOME": home, "PREFECT_API_URL": api}
    os.environ["PREFECT_PROFILES_PATH"] = str(Path(home, "profiles.toml"))
    try:
        _import_prefect()
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        settings = temporary_settings({PREFECT_API_URL: api, PREFECT_HOME: home})
    except ValueError as error:
        why = " ".join(str(error).split())[:300]
        raise InvalidInput(
            f"What is set for Prefect in {Path.cwd()} cannot be read: {why}."
        ) from None
    with settings:
        yield


def _is_theirs(name: str) -> bool:
    """Whether a variable sets something for Prefect that a server of the run's own must not see."""
    return name.upper().startswith("PREFECT_") and name not in QUIET


def _require_answer(url: str) -> None:
    """Raises SympatheiaError if no Prefect server answers at the user's address."""
    import httpx
    from prefect.client.orchestration import get_client

    try:
        settings = {"timeout": httpx.Timeout(ANSWER_SECONDS)}
        with get_client(httpx_settings=settings, sync_client=True) as client:
            trouble = client.api_healthcheck()
            if trouble is None:
                client.raise_for_api_version_mismatch()
    except (httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        trouble = error
    if trouble is not None:
        why = " ".join(str(trouble.__cause__ or trouble).split())[:200]
        raise SympatheiaError(
            f"The Prefect server at {url} cannot be used ({why}). Start it, correct "
            "PREFECT_API_URL (it ends in /api) in the environment or in the profile, or unset it: "
            "then a run has a server of its own."
        )


@contextmanager
def _told(server: str, remedy: str) -> Iterator[None]:
    """Says in a sentence that a server is gone."""
    import httpx
    from prefect.exceptions import PrefectException

    try:
        yield
    except (httpx.HTTPError, PrefectException, RuntimeError) as error:
        if type(error) is RuntimeError and "Failed to reach API" not in str(error):
            raise
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise SympatheiaError(
            f"{server} failed ({why}). {remedy}, and run the same command again; nothing done is "
            "lost."
        ) from error


# What follows runs in the child, and when this is set up.


def serve(port: int, home: Path) -> None:
    """Serves Prefect's API, with all it keeps in a folder."""
    _alone_in(home)
    os.environ["PREFECT__SERVER_EPHEMERAL"] = "1"
    made, blank = home / "prefect.db", blank_database()
    if blank.exists() and not made.exists():
        shutil.copyfile(blank, made)
    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(create_app(ephemeral=True), host="127.0.0.1", port=port, log_level="error")


def _alone_in(home: Path) -> None:
    """Leaves nothing of the user's that Prefect could read, in variables or in files."""
    for name in [name for name in os.environ if name.upper().startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(QUIET | {"PREFECT_HOME": str(home)})
    os.chdir(home)


def blank_database() -> Path:
    """Where an empty, migrated Prefect database is kept: making one takes ten seconds, once."""
    return cache_folder() / f"prefect-{metadata.version('prefect')}.db"


def prepare() -> None:
    """Makes the blank Prefect database, if it is not there; part of setting up."""
    blank = blank_database()
    if blank.exists():
        return
    with tempfile.TemporaryDirectory(prefix="sympatheia-prefect-") as home:
        _alone_in(Path(home))
        from prefect.server.database import provide_database_interface

        asyncio.run(provide_database_interface().create_db())
        with closing(sqlite3.connect(Path(home) / "prefect.db")) as made:
            made.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        write_whole(blank, (Path(home) / "prefect.db").read_bytes())
