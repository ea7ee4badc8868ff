"""This machine: interpreter, packages, GPUs, proxies and certificates."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import httpx2
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from corpus.preflight.findings import Check, RunAhead, Seen, failed, passed, warning
from corpus.preflight.gpus import ANSWER_SECONDS, look_at_gpus
from corpus.run.release import LOCK
from corpus.servers.http_clients import require_key
from corpus.servers.proxies import given, is_local, proxy_for
from corpus.voices import embedded_text_server
from corpus.voices.vllm_environment import vllm_python

TRIED = ((3, 11), (3, 13))
"""First and last version of Python that the project is set up and tried with."""

_PROJECT = "sympatheia-corpus"
_SET_UP = "Run 'make setup' in the project."
_CERTIFICATES = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"),
)
"""Environment variables by which HTTP libraries find certificates."""
_OURS = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Those that the clients of text and speech servers read."""
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def _python(_: RunAhead) -> Seen:
    first, last = (".".join(map(str, version)) for version in TRIED)
    found = ".".join(map(str, sys.version_info[:3]))
    if TRIED[0] <= sys.version_info[:2] <= TRIED[1]:
        return passed(f"Python {found}.")
    return warning(
        f"Python {found} is not one that this project is tried with ({first} to {last}).",
        f"Remove .venv and set up anew with 'make setup PYTHON=python{first}'.",
    )


def _packages(_: RunAhead) -> Seen:
    installed: dict[str, str] = {
        canonicalize_name(found.metadata["Name"]): found.version
        for found in metadata.distributions()
    }
    needed = [Requirement(line) for line in metadata.requires(_PROJECT) or []]
    names = [canonicalize_name(one.name) for one in needed if one.marker is None]
    missing = [name for name in names if name not in installed]
    if missing:
        return failed(f"Packages are missing: {', '.join(missing)}.", _SET_UP)
    if not LOCK.is_file():
        return passed(f"All {len(names)} packages that are needed; there is no lock to compare.")
    locked = _locked(LOCK)
    # A build's own mark, as in 2.13.0+cpu, is no other version.
    differ = [
        f"{name} {installed[name]} instead of {version}"
        for name, version in locked.items()
        if name in installed and installed[name].partition("+")[0] != version
    ]
    if differ:
        return warning(
            f"{len(differ)} of {len(locked)} packages are not as locked: {'; '.join(differ[:5])}.",
            "Run 'make setup' in a fresh .venv; other versions were not tried together.",
        )
    return passed(f"All packages are at the versions of {LOCK.name}.")


def _locked(lock: Path) -> Mapping[str, str]:
    lines = (line.strip() for line in lock.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version.split()[0] for name, _, version in pairs if version}


def _embedded_text(ahead: RunAhead) -> Seen | None:
    if ahead.blueprint is None or ahead.blueprint.recipe.llm.endpoints:
        return None
    llm = ahead.blueprint.recipe.llm
    if llm.vllm.started:
        return _own_vllm(vllm_python(llm.vllm.python))
    weights = embedded_text_server.weights()
    if find_spec("xllamacpp") is None:
        return failed("xllamacpp, which serves the embedded text model, is missing.", _SET_UP)
    return passed(f"The embedded text model is there ({weights.stat().st_size / 1e6:.0f} MB).")


def _own_vllm(python: str) -> Seen:
    asked = [python, "-c", "import importlib.metadata as m; print(m.version('vllm'))"]
    try:
        answer = subprocess.run(
            asked, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return failed(
            f"llm.vllm.python: {python} does not run ({type(error).__name__}).",
            "Name the Python of an environment that has vLLM, or none: then that of 'make "
            "setup-vllm' is taken.",
        )
    if answer.returncode:
        return failed(
            f"llm.vllm.python: {python} has no vLLM.",
            "Run 'make setup-vllm' in the project and name none, or name another environment's.",
        )
    return passed(f"vLLM {answer.stdout.strip()} of {python} will be started for the texts.")


def _proxies(ahead: RunAhead) -> Seen:
    ways = []
    for _, address in ahead.addresses:
        url = httpx2.URL(address)
        proxy = proxy_for(url)
        if proxy is not None:
            ways.append(f"{url.host} through the proxy of {proxy.variable}")
    variables = given()
    named = [name for name in _PROXIES if variables.get(name) or variables.get(name.upper())]
    for name in named:
        if name == "https_proxy":
            continue  # nothing on this machine is asked by https
        bypass = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        caught = [host for host in ("127.0.0.1", "localhost") if not _bypasses(host, bypass)]
        if caught:
            return warning(
                f"{name} is set and no_proxy does not name {' and '.join(caught)}, so that other "
                "programs ask the proxy for servers of this machine.",
                "export no_proxy=localhost,127.0.0.1,$no_proxy",
            )
    if ways:
        return passed(f"Servers are asked directly, but {', '.join(ways)}.")
    return passed("Every server is asked directly." if named else "No proxy is set.")


def _bypasses(host: str, listed: str) -> bool:
    return bool(
        urllib.request.proxy_bypass_environment(host, {"no": listed})  # type: ignore[attr-defined]
    )


def _certificates(ahead: RunAhead) -> Seen:
    named = {name: os.environ[name] for name in _CERTIFICATES if os.environ.get(name)}
    missing = [name for name, path in named.items() if not Path(path).exists()]
    if not missing:
        return passed(f"{', '.join(named)} can be read." if named else "The usual certificates.")
    sentence = "; ".join(f"{name} names {named[name]}, which is not there" for name in missing)
    remedy = "Correct it, or unset it to use the usual certificates."
    secure = [url for _, url in ahead.addresses if _needs_certificates(url)]
    if secure and set(missing) & set(_OURS):
        return failed(f"{sentence}, so that {secure[0]} cannot be asked.", remedy)
    return warning(f"{sentence}.", remedy)


def _needs_certificates(address: str) -> bool:
    url = httpx2.URL(address)
    return url.scheme == "https" and not is_local(url.host)


def _keys(ahead: RunAhead) -> Seen | None:
    if ahead.blueprint is None:
        return None
    recipe = ahead.blueprint.recipe
    judge = recipe.speech.judge
    variables = {"llm": recipe.llm.api_key_env}
    if ahead.speaks:
        variables["speech"] = recipe.speech.api_key_env
        variables[judge.SECTION] = judge.api_key_env if judge.model else ""
    asked = {f"{section}.api_key_env": name for section, name in variables.items() if name}
    for setting, variable in asked.items():
        require_key(variable, setting)
    if not asked:
        return None
    return passed(f"The keys are there: {', '.join(sorted(set(asked.values())))}.")


def _dnsmos(ahead: RunAhead) -> Seen | None:
    if ahead.blueprint is None or not ahead.blueprint.recipe.speech.dnsmos_per_cell:
        return None
    from corpus.sound.dnsmos import require_dnsmos

    require_dnsmos()
    return passed("What DNSMOS needs is installed.")


def _rubrics(ahead: RunAhead) -> Seen | None:
    if ahead.blueprint is None or not ahead.blueprint.recipe.speech.judge.model:
        return None
    from corpus.judge.rubrics import Rubrics

    Rubrics(ahead.blueprint.prompts.folder)
    return passed("The rubrics of the judge of clips are in order.")


ENVIRONMENT: tuple[Check[RunAhead], ...] = (
    Check("python", "The interpreter, against the versions the project is tried with.", _python),
    Check("packages", "Every package, against `requirements.lock`.", _packages),
    Check(
        "gpu",
        "PyTorch's build, devices and driver; a GPU that PyTorch cannot use is a warning.",
        lambda _: look_at_gpus(),
    ),
    Check(
        "own_text_server",
        "Where the run starts its text server itself: the embedded model, or vLLM in its own "
        "environment.",
        _embedded_text,
    ),
    Check("dnsmos", "Where clips are rated by DNSMOS: the packages that needs.", _dnsmos),
    Check("rubrics", "Where a judge listens to clips: its rubrics.", _rubrics, cheap=True),
    Check(
        "proxies",
        "The proxies in the environment: usable for the recipe's servers, and not for this "
        "machine's own.",
        _proxies,
        cheap=True,
    ),
    Check(
        "certificates",
        "Environment variables that name certificates which are not there.",
        _certificates,
        cheap=True,
    ),
    Check("keys", "The API keys that the recipe names; none is shown.", _keys, cheap=True),
)
"""What is looked at of this machine."""
