import os
import secrets
import shutil
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from tests.store.power_cut import build
from tests.support.fake_servers import FakeTextServer
from tests.support.line import write_recipe
from tests.support.s3_server import S3Server


@pytest.fixture(scope="module")
def server():
    with S3Server() as running:
        yield running


@pytest.fixture
def s3(server, monkeypatch):
    """The server without faults, and where the environment leads."""
    S3FileSystem.clear_instance_cache()
    server.faults, server.requests, server.hit = [], [], []
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def bucket(s3):
    name = f"corpora-{secrets.token_hex(4)}"
    s3.client.create_bucket(Bucket=name)
    s3.requests.clear()
    return name


@pytest.fixture
def url(bucket):
    return f"s3://{bucket}/store"


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> RunFolder:
    """A whole run of eleven clips. Look, and change nothing."""
    folder = tmp_path_factory.mktemp("small")
    with FakeTextServer() as server:
        recipe = write_recipe(folder / "r.toml", server.base_url, anchors=("sad", "angry"))
        settings = ("emotional.pairs_per_anchor=2", "neutral.queries=1", "speech.prosody=false")
        settings += ("speech.concurrency=1",)
        return build(folder / "run", Blueprint.named(str(recipe), settings))[0]


@pytest.fixture
def run(small, tmp_path) -> RunFolder:
    """A copy of it."""
    return RunFolder(shutil.copytree(small.root, tmp_path / "run"))


@pytest.fixture
def synced(monkeypatch):
    """What is synced from here on, in order: the path, and what the file or the folder held."""
    found: list[tuple[Path, bytes | list[str]]] = []
    real = os.fsync

    def fsync(file):
        path = Path(f"/proc/self/fd/{file}").readlink()
        is_folder = path.is_dir()
        names = sorted(inner.name for inner in path.iterdir()) if is_folder else []
        found.append((path, names if is_folder else path.read_bytes()))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    return found
