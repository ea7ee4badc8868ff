"""Publishing as a command: tokens, gates, and what is printed."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from corpus.errors import SympatheiaError
from corpus.hub import hub_upload
from tests.support.hub_client import hub_environment
from tests.support.hub_server import READER, TOKEN, Hub
from tests.support.line import sympatheia, typed
from tests.support.published import REPO, held, publish, refused, sent

# Tokens


@pytest.mark.parametrize("token", ["hf_\x1b[31mred", "hf_ü", "two words"])
def test_a_garbled_token_is_refused_and_not_shown(hub, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SympatheiaError, match="characters in it that no token has") as caught:
        hub_upload.require_token()
    assert token not in str(caught.value)


def test_a_server_that_repeats_the_token_is_not_repeated(hub, folder):
    hub.fail("create", 403, body={"error": f"{TOKEN} may not"})
    with pytest.raises(SympatheiaError, match="may not") as caught:
        publish(folder)
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_hubs_log_has_no_signatures(hub, folder):
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("huggingface_hub")
    logger.addHandler(handler)
    try:
        hub.fail("put", 500)
        publish(folder)
    finally:
        logger.removeHandler(handler)
    assert any("HTTP Error 500" in line and "/storage/" in line for line in said)
    assert not any("signature" in line for line in said)


def test_a_token_that_may_only_read_is_refused(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READER)
    said = refused(folder)
    assert "Use a token that may write to 'someone'" in said
    assert READER not in said
    assert not hub.repositories


def test_the_hubs_own_login_is_used(hub, folder, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(SympatheiaError, match="There is no token for the Hub"):
        hub_upload.require_token()
    assert "there is no token" in refused(folder)
    (tmp_path / "token").write_text(TOKEN)
    hub_upload.require_token()
    assert publish(folder)
    assert held(hub) == sent(folder)


# The gates


def test_a_folder_that_fails_a_gate_is_named_with_the_gate(folder, monkeypatch):
    passed = {"balance": True, "checksum": False}
    gates = [SimpleNamespace(name=name, passed=passed[name]) for name in passed]
    module = SimpleNamespace(check_folder=lambda checked: gates if checked == folder else [])
    monkeypatch.setitem(sys.modules, "corpus.checks.dataset_check", module)
    with pytest.raises(SympatheiaError, match=r"1 of the quality gates \(checksum\)") as caught:
        hub_upload.require_gates(folder)
    assert f"'sympatheia check {folder}' shows" in str(caught.value)
    passed["checksum"] = gates[1].passed = True
    hub_upload.require_gates(folder)


# The command line


@pytest.fixture
def env(tmp_path):
    """An environment whose processes know no other Hub and take any dataset for a good one.

    The gates have tests of their own, and would refuse these shards.
    """
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import sys, types\n"
        "name = 'corpus.checks.dataset_check'\n"
        "module = sys.modules[name] = types.ModuleType(name)\n"
        "module.check_folder = lambda folder: []\n"
    )
    with Hub() as hub:
        yield hub_environment(hub, tmp_path / "home") | {"hub": hub, "PYTHONPATH": str(hook)}


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_publish_as_a_command(shared_prefect, env, folder):
    server = env.pop("hub")
    before = everything_in(folder.parent)
    server.fail("put", 500, skip=1)  # passes by itself
    server.fail("commit", 500)
    failed = sympatheia("publish", folder.parent, "--repo-id", REPO, "--private", **env)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "\nError: Uploading to someone/corpus failed at" in failed.stderr
    assert "Traceback" not in failed.stderr

    tagged = ("--repo-id", REPO, "--tag", "v1.0")
    done = sympatheia("publish", folder.parent, *tagged, "--private", **env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{server.url}/datasets/{REPO}\n"
    commit = server.repository(REPO).oid()
    said = f"Published and verified: commit {commit}, marked by the tag v1.0."
    assert said in done.stderr
    assert server.repository(REPO).tags == {"v1.0": commit}
    assert held(server) == sent(folder)
    assert server.repository(REPO).private
    assert server.count("put") == 4  # the one that failed by itself, and none in the second call

    again = sympatheia("publish", folder, *tagged, "--debug", **env)
    assert again.returncode == 0, again.stderr
    assert "nothing to send" in again.stderr
    assert len(server.repository(REPO).commits) == 2
    for run in (failed, done, again):
        assert TOKEN not in run.stdout + run.stderr
        assert "signature" not in run.stderr
    assert everything_in(folder.parent) == before


@pytest.mark.parametrize("echo", ["someone", TOKEN])
def test_no_token_in_a_trace(shared_prefect, env, folder, echo, tmp_path):
    server = env.pop("hub")
    server.fail("commit", 403, body={"error": f"{echo} may not"}, headers={"X-Key": echo})
    run = sympatheia("--debug", "publish", folder, "--repo-id", REPO, HF_DEBUG="1", **env)
    assert run.returncode == 1
    assert "Traceback" in run.stderr
    assert "token may not do that" in run.stderr
    assert "curl -X POST" in run.stderr  # that is what HF_DEBUG has the client show
    assert TOKEN not in run.stdout + run.stderr
    assert TOKEN.encode() not in everything_in(tmp_path)


def test_the_real_gates_are_asked(shared_prefect, env, folder):
    server = env.pop("hub")
    run = sympatheia("publish", folder, "--repo-id", REPO, **env | {"PYTHONPATH": ""})
    assert run.returncode == 2, run.stderr
    assert "manifest.json" in run.stderr
    assert server.count("create") == 0


def test_a_dry_run_needs_no_token_and_sends_nothing(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder.parent / "no token"))
    run = typed("publish", folder.parent, "--repo-id", REPO, "--dry-run")
    assert run.returncode == 0, run.stderr
    for name, content in sent(folder).items():
        assert f"{len(content):>15,}  {name}\n" in run.stdout
    assert "5 files" in run.stdout
    assert (folder / "README.md").read_text() in run.stdout
    assert ".DS_Store" not in run.stdout
    assert "Nothing was sent" in run.stderr

    run = typed("publish", folder.parent, "--repo-id", REPO)
    assert run.returncode == 1
    assert run.stderr.startswith("Error: There is no token for the Hub. Set HF_TOKEN")
    assert hub.requests == []
