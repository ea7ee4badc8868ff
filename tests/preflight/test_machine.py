"""Faults planted in this machine and in what is beyond it, each named by its finding."""

import shutil
import sys
from collections import namedtuple

import pytest

from corpus.judge import rubrics
from corpus.preflight import environment
from corpus.preflight.disk import DISK
from corpus.preflight.environment import ENVIRONMENT
from corpus.preflight.findings import Finding, RunAhead, look
from corpus.preflight.remote_services import PLACES
from corpus.voices import vllm_environment
from tests.support.findings import blueprint
from tests.support.hub_client import hub_of_this_process
from tests.support.hub_server import READER

REMOTE = "http://gpu1.example:8000/v1"
SECURE = "https://gpu1.example:8000/v1"
Usage = namedtuple("Usage", "total used free")


def old_lock(patch, tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.0.1\n")
    patch.setattr(environment, "LOCK", lock)


def lacks_a_package(patch, tmp_path):
    needed = ["numpy", "never-heard-of-it"]
    patch.setattr(environment.metadata, "requires", lambda name: needed)


def unseen_gpu(patch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-0)'\n")
    program.chmod(0o755)
    patch.setenv("PATH", str(tmp_path), prepend=":")


def unset(patch, tmp_path):
    patch.delenv("NOT_SET_AT_ALL", raising=False)


def env(**variables):
    return lambda patch, tmp_path: [patch.setenv(*pair) for pair in variables.items()]


MACHINE_FAULTS = {
    "an old Python": (
        lambda patch, _: patch.setattr(environment, "TRIED", ((4, 0), (4, 1))),
        [],
        ("python", "warning", "not one that this project is tried with (4.0 to 4.1)"),
    ),
    "other versions": (old_lock, [], ("packages", "warning", "instead of 0.0.1")),
    "a missing package": (lacks_a_package, [], ("packages", "failed", "never-heard-of-it")),
    "a GPU that PyTorch does not see": (unseen_gpu, [], ("gpu", "warning", "NVIDIA H100")),
    "no such interpreter for vLLM": (
        unset,
        ['llm.vllm.python="/nowhere/python"'],
        ("own_text_server", "failed", "/nowhere/python does not run"),
    ),
    "no vLLM anywhere": (
        lambda patch, path: patch.setattr(vllm_environment, "MADE", path / "python"),
        ["llm.vllm.start=true"],
        ("own_text_server", "failed", "llm.vllm.start: there is no vLLM"),
    ),
    "an interpreter without vLLM": (
        unset,
        [f'llm.vllm.python="{sys.executable}"'],
        ("own_text_server", "failed", "has no vLLM"),
    ),
    "a proxy that cannot be used": (
        env(http_proxy="socks4://proxy:1", no_proxy="127.0.0.1,localhost"),
        [f'llm.endpoints=["{REMOTE}"]'],
        ("proxies", "failed", "http_proxy"),
    ),
    "a proxy that catches this machine": (
        env(http_proxy="http://proxy:3128", no_proxy=""),
        [],
        ("proxies", "warning", "no_proxy does not name 127.0.0.1"),
    ),
    "certificates that are not there": (
        env(SSL_CERT_FILE="/nowhere/ca.pem"),
        [f'llm.endpoints=["{SECURE}"]'],
        ("certificates", "failed", "SSL_CERT_FILE names /nowhere/ca.pem"),
    ),
    "certificates that nobody needs": (
        env(REQUESTS_CA_BUNDLE="/nowhere/ca.pem"),
        [],
        ("certificates", "warning", "REQUESTS_CA_BUNDLE"),
    ),
    "a key that is not set": (
        unset,
        ['llm.api_key_env="NOT_SET_AT_ALL"', f'llm.endpoints=["{REMOTE}"]'],
        ("keys", "failed", "NOT_SET_AT_ALL"),
    ),
    "a rubric that lacks a clip": (
        lambda patch, _: patch.setitem(rubrics.CLIPS_IN, "pairwise", 3),
        [f'speech.judge={{model="ears", endpoints=["{REMOTE}"]}}'],
        ("rubrics", "failed", "pairwise.jinja has 2 lines [[clip]] and needs 3"),
    ),
    "a judge's key that is not set": (
        unset,
        [
            f'speech.judge={{model="ears", endpoints=["{REMOTE}"], api_key_env="NOT_SET_AT_ALL"}}',
        ],
        ("keys", "failed", "speech.judge.api_key_env names the environment variable"),
    ),
    "a full disk": (
        lambda patch, _: patch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1_000_000)),
        [],
        ("disk", "failed", "too little room"),
    ),
    "a disk that may be too small": (
        lambda patch, _: patch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 50_000_000)),
        [],
        ("disk", "warning", "may have too little room"),
    ),
    "no Prefect server": (
        env(PREFECT_API_URL="http://127.0.0.1:9/api"),
        [],
        ("prefect", "failed", "http://127.0.0.1:9/api does not answer"),
    ),
    "no Dask scheduler": (
        unset,
        ['compute.dask="tcp://127.0.0.1:9"'],
        ("dask", "failed", "nothing answers at tcp://127.0.0.1:9"),
    ),
    "a store that cannot be written": (
        unset,
        ['storage.url="/proc/nowhere"'],
        ("storage", "failed", "storage.url: /proc/nowhere cannot be written to"),
    ),
}
"""What is done to the environment, what the recipe says, and what is found."""

MACHINE = (*ENVIRONMENT, *DISK, *PLACES)


def one(name: str, ahead: RunAhead) -> Finding:
    (found,) = look([check for check in MACHINE if check.name == name], ahead)
    return found


@pytest.mark.parametrize("fault", MACHINE_FAULTS)
def test_a_fault_of_the_machine_is_named(fault, monkeypatch, tmp_path):
    plant, overrides, (name, verdict, words) = MACHINE_FAULTS[fault]
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    plant(monkeypatch, tmp_path)
    found = one(name, RunAhead(blueprint(*overrides), tmp_path))
    assert (found.verdict, words in found.sentence) == (verdict, True), found
    assert found.remedy


def test_a_prefect_server_of_the_users_profile_is_looked_for(monkeypatch, tmp_path):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / "profiles.toml").write_text(
        'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "http://127.0.0.1:9/mine"\n'
    )
    assert "http://127.0.0.1:9/mine does not answer" in one("prefect", RunAhead()).sentence


@pytest.mark.parametrize(
    ("token", "repo_id", "verdict", "words"),
    [
        ("", "tester/corpus", "failed", "There is no token"),
        ("hf_gar bled", "", "failed", "no token has"),
        ("hf_expired", "tester/corpus", "failed", "the token is not accepted"),
        ("hf_expired", "", "warning", "the token is not accepted"),
        (READER, "tester/corpus", "failed", "may read only"),
        (None, "someone-else/corpus", "failed", "not someone-else"),
        (None, "tester/corpus", "passed", "is of tester"),
    ],
)
def test_the_token_for_the_hub_is_tried_and_never_shown(
    monkeypatch, tmp_path, token, repo_id, verdict, words
):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with hub_of_this_process(monkeypatch):
        if token is not None:
            monkeypatch.setenv("HF_TOKEN", token)
        found = one("hub_token", RunAhead(repo_id=repo_id))
    assert (found.verdict, words in found.sentence) == (verdict, True), found
    assert "hf_" not in found.sentence + found.remedy
