"""Publishing to a Hub that fails: a sentence each, and the next call goes on."""

import socket

import pytest
from huggingface_hub import constants

from corpus.errors import SympatheiaError
from corpus.hub import hub_client
from corpus.hub.hub_upload import Publication
from tests.support.published import REPO, SHARDS, held, publish, refused, sent

# Failures: a sentence each, and the next call goes on


FULL = "Private repository storage limit reached, please upgrade your plan"

FAILURES = [
    ("create", 401, {}, ["token is not accepted", "HF_TOKEN"]),
    ("create", 403, {}, ["token may not do that", "write to 'someone'"]),
    ("create", 404, {}, ["no such place", "'someone' is your user name"]),
    ("create", 429, {"headers": {"Retry-After": "77"}}, ["too many requests", "Wait 77 s"]),
    ("create", 429, {"headers": {"ratelimit": '"api";r=0;t=55'}}, ["Wait 55 s"]),
    ("create", 500, {}, ["the Hub failed", "Wait a few minutes"]),
    ("create", 418, {}, ["the Hub refuses it", "418"]),
    ("create", "drop", {}, ["connection broke off"]),
    ("create", 200, {"body": "<html>hello"}, ["none of a Hub", "HF_ENDPOINT"]),
    ("create", 200, {"body": {}}, ["none of a Hub", "'url'"]),
    ("info", 401, {}, ["token is not accepted"]),
    ("info", 500, {}, ["the Hub failed"]),
    ("validate", 400, {"body": {"errors": [{"message": "no license"}]}}, ["card", "no license"]),
    ("validate", 502, {"body": "<html>Bad gateway"}, ["none of a Hub"]),
    ("preupload", 403, {}, ["Uploading to someone/corpus", "token may not do that"]),
    ("preupload", 503, {}, ["the Hub failed", "503"]),
    ("batch", 401, {}, ["token is not accepted"]),
    ("batch", 402, {}, ["no room left", "quota"]),
    ("batch", 413, {}, ["no room left"]),
    ("batch", 507, {}, ["no room left", "storage of 'someone'"]),
    ("batch", 403, {"body": {"error": FULL}}, ["no room left", FULL]),
    ("batch", 429, {"body": {"error": "you hit the quota of 1000"}}, ["too many requests"]),
    ("put", 500, {"skip": 1}, ["Uploading data/", ".parquet to someone/corpus", "500"]),
    ("put", "drop", {"skip": 1}, ["Uploading data/", "connection broke off"]),
    ("put", 403, {"skip": 1}, ["permission to store it has run out"]),
    ("put", 507, {"skip": 2}, ["no room left"]),
    ("verify", 404, {}, ["Uploading data/", "404"]),
    ("commit", 409, {}, ["someone else is changing", "409"]),
    ("commit", 412, {}, ["someone else is changing", "412"]),
    ("commit", 413, {}, ["no room left"]),
    ("commit", 429, {}, ["too many requests", "a few minutes"]),
    ("commit", 500, {}, ["the Hub failed"]),
    ("commit", "drop", {}, ["connection broke off"]),
    ("commit", "lose", {}, ["connection broke off"]),
    ("tree", 500, {"skip": 1}, ["Listing what someone/corpus holds", "the Hub failed"]),
    ("tree", "drop", {"skip": 1}, ["Listing what someone/corpus holds", "broke off"]),
]


@pytest.mark.parametrize(
    ("call", "how", "settings", "words"), FAILURES, ids=[f"{f[0]}-{f[1]}" for f in FAILURES]
)
def test_a_failure_is_a_sentence_and_the_next_call_goes_on(hub, folder, call, how, settings, words):
    hub.fail(call, how, times=50, **settings)
    said = refused(folder)
    assert all(word in said for word in [*words, hub.url]), said
    assert said.endswith("run the same command again: it goes on from there.")
    assert "\n" not in said
    hub.recover()
    stored = hub.repository(REPO).objects.copy() if hub.repositories else {}
    puts = hub.count("put")
    changed = publish(folder)
    assert held(hub) == sent(folder)
    assert hub.count("put") == puts + 3 - len(stored)  # what had arrived was not sent again
    assert changed == (how != "lose" and call != "tree")
    assert len(hub.repository(REPO).commits) == 2


def test_what_passes_by_itself_is_not_a_failure(hub, folder):
    hub.fail(
        "create",
        409,
        body={"error": "Cannot create repo: another conflicting operation is in progress"},
    )
    hub.fail("preupload", 429, headers={"Retry-After": "7"})
    hub.fail("put", 500, skip=1, times=2)
    hub.fail("put", "drop")
    hub.fail("batch", 503)
    hub.fail("tree", "drop")
    assert publish(folder)
    assert held(hub) == sent(folder)
    assert 8.0 in hub.waits  # it waits as long as the Hub says, and a second


def test_an_object_that_is_refused_alone_is_told(hub, folder):
    error = {"oid": "0" * 64, "size": 1, "error": {"code": 507, "message": FULL}}
    hub.fail("batch", 200, body={"objects": [error]})
    assert "no room left for it (LFS batch API returned errors" in refused(folder)


def test_a_hub_that_says_nothing_is_given_up(hub, folder, monkeypatch):
    monkeypatch.setattr(hub_client, "SILENCE_SECONDS", 0.3)
    hub.fail("create", "hang")
    assert "there was no answer" in refused(folder)
    assert publish(folder)


def test_no_network(hub, folder, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        said = refused(folder)
    assert "cannot be reached" in said
    assert address in said


def test_offline_mode_is_named(hub, folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set. Unset it" in refused(folder)


def test_xet_failures_are_sentences_too(hub, folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.fail("xet", 403)
    assert "token may not do that" in refused(folder)
    said = refused(folder)
    assert "no such place" in said
    assert hub.url in said


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda files: files.pop("manifest.json"), "manifest.json is missing"),
        (
            lambda files: files.pop("data/neutral/train-00000-of-00001.parquet"),
            "parquet is missing",
        ),
        (lambda files: files.update({"README.md": files["manifest.json"]}), "README.md differs"),
        (
            lambda files: files.update(
                {
                    f"data/{SHARDS[0]}-00000-of-00001.parquet": files[
                        f"data/{SHARDS[1]}-00000-of-00001.parquet"
                    ]
                }
            ),
            f"data/{SHARDS[0]}-00000-of-00001.parquet differs",
        ),
        (
            lambda files: files.update({"data/neutral/old-0.parquet": files["README.md"]}),
            "data/neutral/old-0.parquet is left over",
        ),
    ],
)
def test_what_the_hub_lists_is_compared(hub, folder, damage, words):
    publish(folder)
    publication = Publication(folder, REPO)
    damage(hub.repository(REPO).files)
    with pytest.raises(SympatheiaError, match=words):
        publication.verify(hub.repository(REPO).oid())
    publish(folder)
    assert held(hub) == sent(folder)


def test_a_bit_that_turned_on_the_hub_is_found(hub, folder):
    publish(folder)
    files = hub.repository(REPO).files
    name = f"data/{SHARDS[0]}-00000-of-00001.parquet"
    content = bytearray(files[name].content)
    content[50] ^= 1
    files[name] = type(files[name])(bytes(content), lfs=True)
    with pytest.raises(SympatheiaError, match=f"{name} differs"):
        Publication(folder, REPO).verify(hub.repository(REPO).oid())


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALL_PROXY", "socks://127.0.0.1:7891/"), ("SSL_CERT_FILE", "/gone/cacert.pem")],
)
def test_a_variable_that_bars_the_way_is_named(folder, monkeypatch, name, value):
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example")
    for other in ("https_proxy", "HTTPS_PROXY", "all_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    assert f"The environment variable {name} names" in refused(folder)
