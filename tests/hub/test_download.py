"""Fetching a dataset from the Hub: at its newest commit or at a tag, whole, once, or in words."""

import json
import socket
from pathlib import Path

import pytest
from huggingface_hub import constants

from corpus.errors import InvalidInput, SympatheiaError
from corpus.hub.hub_download import fetch_dataset, is_hub_name
from tests.support.hub_server import READER, TOKEN
from tests.support.line import typed
from tests.support.published import REPO, SHARDS, publish, sent, write_shard


@pytest.fixture
def hub(hub, tmp_path, monkeypatch):
    """The double of the Hub, and a cache with nothing in it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return hub


def fetched(name: str = REPO) -> dict[str, bytes]:
    """The files of a fetched dataset."""
    folder = fetch_dataset(name)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: files[name] for name in files if name != ".gitattributes"}


def unfetched(name: str = REPO, error: type[SympatheiaError] = SympatheiaError) -> str:
    with pytest.raises(error) as caught:
        fetch_dataset(name)
    said = str(caught.value)
    assert TOKEN not in said
    assert "\n" not in said
    return said


def change(folder: Path) -> None:
    write_shard(folder / "data/neutral/train-00000-of-00001.parquet", seed=9)


def test_a_tag_gives_what_it_marks_and_no_tag_the_newest(hub, folder):
    publish(folder, tag="v1")
    first = sent(folder)
    change(folder)
    publish(folder)
    assert fetched(f"{REPO}@v1") == first
    assert fetched() == fetched(f"{REPO}@main") == sent(folder) != first
    assert fetch_dataset(f"{REPO}@v1").name == hub.repository(REPO).tags["v1"]
    assert hub.keyed_gets == 0  # the storage is not shown the token


def test_what_is_there_is_not_fetched_again(hub, folder):
    publish(folder)
    fetched()
    given = hub.given
    fetched()
    assert given == hub.given > 0
    change(folder)
    publish(folder)
    assert fetched() == sent(folder)
    assert hub.given < given * 2  # one shard of three


def test_a_public_dataset_needs_no_token(hub, folder, monkeypatch):
    publish(folder)
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder.parent / "no token"))
    assert fetched() == sent(folder)


def test_a_private_one_needs_one_that_may_read(hub, folder, monkeypatch):
    publish(folder, private=True)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert fetched() == sent(folder)
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder.parent / "no token"))
    assert "it is private or gated" in unfetched(error=InvalidInput)


def test_a_dataset_that_is_not_there_is_named(hub):
    said = unfetched("someone/nothing@v1", InvalidInput)
    assert f"There is no dataset 'someone/nothing' at {hub.url}" in said
    assert "nor is there such a folder here" in said


def test_a_tag_that_is_not_there_is_named_with_those_that_are(hub, folder):
    publish(folder)
    assert "has no tag 'v3'. It has none; without @v3" in unfetched(f"{REPO}@v3", InvalidInput)
    for tag in ("v1", "v2"):
        publish(folder, tag=tag)
    assert "has no tag 'v3'. It has v1, v2; without @v3" in unfetched(f"{REPO}@v3", InvalidInput)


@pytest.mark.parametrize("name", ["a/b/c", "corpus", f"{REPO}@", f"{REPO}@v 1", "a/b..c"])
def test_a_malformed_name_is_wrong_usage(hub, name):
    unfetched(name, InvalidInput)
    assert hub.requests == []


def test_names_of_the_hub_are_told_from_paths():
    assert all(map(is_hub_name, ("a/b", "a/b@v1", "some-one/corpus.2")))
    assert not any(map(is_hub_name, ("a", "/a/b", "./a", "../a", "a/b/c", "runs/x/corpus", "")))


def test_a_fetch_that_breaks_off_goes_on_where_it_stopped(hub, folder):
    publish(folder)
    hub.fail("get", "cut")
    assert fetched() == sent(folder)
    whole = sum(len(c) for name, c in sent(folder).items() if name.endswith(".parquet"))
    assert whole < hub.given < 2 * whole
    assert hub.count("get") == len(SHARDS) + 1


@pytest.mark.parametrize(
    ("call", "how", "words"),
    [
        ("revision", 500, "the Hub failed"),
        ("revision", 401, "HF_TOKEN"),
        ("revision", 429, "too many requests"),
        ("revision", "drop", "connection broke off"),
        ("tree", 503, "the Hub failed"),
        ("head", 500, "the Hub failed"),
        ("head", 403, "may not"),
        ("get", 500, "the Hub failed"),
        ("get", "drop", "connection broke off"),
    ],
)
def test_a_failure_is_a_sentence_and_the_next_call_goes_on(hub, folder, call, how, words):
    publish(folder)
    hub.fail(call, how, times=99)
    assert words in unfetched()
    hub.recover()
    assert fetched() == sent(folder)


def test_an_old_state_is_not_taken_for_the_newest(hub, folder):
    publish(folder)
    fetched()
    hub.fail("revision", 500, times=99)
    assert "the Hub failed" in unfetched()


def test_nor_if_the_hub_fails_in_between(hub, folder):
    publish(folder)
    fetched()
    change(folder)
    publish(folder)
    hub.fail("revision", 500, skip=1)
    assert fetched() == sent(folder)


def test_no_network(hub, folder, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        said = unfetched()
    assert f"Fetching the dataset {REPO} failed at {address}: it cannot be reached" in said


def test_offline_what_was_fetched_is_taken_and_else_told(hub, folder, monkeypatch):
    publish(folder, tag="v1")
    publish(folder, tag="v2")
    fetched(f"{REPO}@v1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetched(f"{REPO}@v1") == sent(folder)
    assert "HF_HUB_OFFLINE is set. Unset it" in unfetched(f"{REPO}@v2")


def test_a_garbled_token_is_told_and_not_shown(hub, folder, monkeypatch):
    publish(folder)
    monkeypatch.setenv("HF_TOKEN", "hf_\x1b[31mred")
    said = unfetched()
    assert "characters in it that no token has" in said
    assert "31mred" not in said


# As one side of a comparison


def test_a_tag_is_compared_with_a_folder(hub, whole):
    publish(whole / "corpus", tag="v1")
    ran = typed("compare", f"{REPO}@v1", whole / "corpus", "--json")
    assert ran.returncode == 0, ran.stderr
    facts = json.loads(ran.stdout)
    assert facts["a"]["source"] == f"{REPO}@v1"
    assert facts["a"]["commit"] == hub.repository(REPO).tags["v1"]
    assert facts["b"]["commit"] is None
    assert facts["rows"]["unchanged"] == 42


def test_what_is_on_the_hub_and_no_dataset_of_this_project_is_named(hub, folder):
    publish(folder)  # its manifest is none
    ran = typed("compare", REPO, folder)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"Error: {REPO} of the Hub cannot be compared. ")
    assert "Traceback" not in ran.stderr
    missing = typed("compare", "someone/nothing@v1", folder)
    assert missing.returncode == 2
    assert "There is no dataset 'someone/nothing'" in missing.stderr
