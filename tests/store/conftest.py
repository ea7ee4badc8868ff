import secrets

import pytest
from s3fs import S3FileSystem

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
