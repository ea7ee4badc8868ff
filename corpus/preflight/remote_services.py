"""The places beyond this machine that a run writes to or is steered by."""

import os
import socket
import tomllib
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import huggingface_hub as hub

from corpus.compute.local_or_dask import Workers
from corpus.errors import SympatheiaError
from corpus.hub.hub_errors import in_words
from corpus.hub.hub_upload import require_token
from corpus.preflight.findings import Check, RunAhead, Seen, failed, passed, said, warning
from corpus.servers.proxies import is_local
from corpus.store.object_storage import Storage

CONNECT_SECONDS = 5.0
"""For a Prefect server or a Dask scheduler to answer."""


def _token(ahead: RunAhead) -> Seen | None:
    with in_words("Looking for a token"):
        token = hub.get_token()
    if token is None and not ahead.repo_id:
        return None
    require_token()
    if hub.constants.HF_HUB_OFFLINE:
        return passed("A token for the Hub is there; HF_HUB_OFFLINE keeps it from being tried.")
    namespace = ahead.repo_id.partition("/")[0]
    try:
        with in_words("Asking the Hub whose token this is", ahead.repo_id):
            account = hub.HfApi().whoami()
    except SympatheiaError as error:
        refused = said(error)
        return refused if ahead.repo_id else warning(refused.sentence, refused.remedy)
    name = account["name"]
    spaces = [name, *(org["name"] for org in account.get("orgs") or ())]
    role = ((account.get("auth") or {}).get("accessToken") or {}).get("role", "")
    if role == "read":
        reader = f"The token for the Hub, of {name}, may read only."
        remedy = "Make one that may write, and put it into HF_TOKEN."
        return failed(reader, remedy) if namespace else warning(reader, remedy)
    if namespace and namespace not in spaces:
        return failed(
            f"The token for the Hub is of {name}, whose namespaces are {', '.join(spaces)}, not "
            f"{namespace}.",
            f"Have yourself invited to {namespace}, or use another --repo-id.",
        )
    return passed(f"The token for the Hub is of {name}.")


def _prefect(_: RunAhead) -> Seen:
    address = _prefect_address()
    if not address:
        return passed("No Prefect server is set up; a run has one of its own.")
    url = httpx2.URL(f"{address.rstrip('/')}/health")
    try:
        answer = httpx2.get(url, timeout=CONNECT_SECONDS, trust_env=not is_local(url.host))
        trouble = "" if answer.is_success else f"HTTP {answer.status_code}"
    except httpx2.HTTPError as error:
        trouble = str(error) or type(error).__name__
    if trouble:
        return failed(
            f"The Prefect server at {address} does not answer ({trouble}).",
            "Start it, or unset PREFECT_API_URL: a run has a server of its own then.",
        )
    return passed(f"The Prefect server at {address} answers.")


def _prefect_address() -> str:
    """The address in the environment, or in the user's active profile; empty if there is none."""
    if found := os.environ.get("PREFECT_API_URL"):
        return found
    home = Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect"))
    try:
        profiles = tomllib.loads((home / "profiles.toml").read_text(encoding="utf-8"))
        return str(profiles["profiles"][profiles["active"]]["PREFECT_API_URL"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # no profile, or one that names no server


def _dask(ahead: RunAhead) -> Seen | None:
    if ahead.blueprint is None or not ahead.blueprint.recipe.compute.dask:
        return None
    address = ahead.blueprint.recipe.compute.dask
    place = urlsplit(address)
    try:
        # The library's own client would look for it for half a minute.
        socket.create_connection((place.hostname, place.port), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        return failed(
            f"compute.dask: nothing answers at {address} ({error}).",
            "Start the scheduler with 'dask scheduler', or correct the address.",
        )
    with Workers("looks", 1, address) as workers:
        return passed(f"The cluster at {address} takes {workers.at_once} calls at a time.")


def _storage(ahead: RunAhead) -> Seen | None:
    if ahead.blueprint is None:
        return None
    recipe = ahead.blueprint.recipe
    places = {"storage.url": recipe.storage.url, "shards.target": recipe.shards.target}
    named = {key: url for key, url in places.items() if url}
    for key, url in named.items():
        storage, name = Storage(url, key), f"doctor-{uuid.uuid4().hex}"
        try:
            storage.write(name, b"written to see whether it can be")
            storage.read(name)
            storage.remove(name)
        except OSError as error:
            return failed(
                f"{key}: {url} cannot be written to ({error.strerror or error}).",
                "Correct the address, or the storage library's keys and region.",
            )
    return passed(f"{' and '.join(named)} can be written to.") if named else None


PLACES: tuple[Check[RunAhead], ...] = (
    Check("hub_token", "With a token or `--repo-id`: the token, and whose it is.", _token),
    Check("prefect", "The Prefect server that you have set up, if any.", _prefect),
    Check("dask", "With `compute.dask`: the cluster and its workers.", _dask),
    Check("storage", "With `storage.url` or `shards.target`: whether it can be written.", _storage),
)
"""What is looked at beyond this machine, but for the servers that write and speak."""
