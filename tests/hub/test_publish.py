"""Publishing with the hub's own client, to a double of the Hub that fails on demand."""

import logging
import socket
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard, DatasetCardData, constants

from corpus.errors import InvalidInput, SympatheiaError
from corpus.hub import hub_upload
from corpus.hub.hub_upload import Publication, find_dataset
from corpus.run.run_folder import RunFolder
from schemas.tables import TEXT_ROWS
from tests.support.hub_client import hub_environment, hub_of_this_process
from tests.support.hub_server import READER, TOKEN, Hub
from tests.support.line import sympatheia

REPO = "someone/corpus"
SHARDS = ("emotional/train", "emotional/eval", "neutral/train")


def write_shard(path: Path, seed: int) -> None:
    """A shard as the corpus has them, of two rows that differ from seed to seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            field.name: f"{field.name} {seed} {n}" if pa.types.is_string(field.type) else n
            for field in TEXT_ROWS
        }
        for n in range(2)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=TEXT_ROWS), path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run folder with a small dataset and what else may lie about in one."""
    corpus = tmp_path / "run" / "corpus"
    for seed, name in enumerate(SHARDS):
        write_shard(corpus / "data" / f"{name}-00000-of-00001.parquet", seed)
    card = DatasetCardData(license="cc-by-4.0", pretty_name="small")
    DatasetCard(f"---\n{card.to_yaml()}\n---\n\n# A small corpus\n").save(corpus / "README.md")
    (corpus / "manifest.json").write_text('{"name": "small"}\n')
    (corpus / ".DS_Store").write_text("left by an editor")
    (corpus / ".cache" / "huggingface").mkdir(parents=True)
    (corpus / ".cache" / "huggingface" / "x.metadata").write_text("left by a download")
    return corpus


@pytest.fixture
def hub(monkeypatch):
    with hub_of_this_process(monkeypatch) as hub:
        yield hub


def publish(folder: Path, repo_id: str = REPO, **settings) -> bool:
    """The steps of the flow after the gates, without Prefect; whether the Hub has changed."""
    publication = Publication(folder, repo_id, **settings)
    before = publication.create()
    commit = publication.upload()
    publication.verify(commit)
    return commit != before


def sent(folder: Path) -> dict[str, bytes]:
    """What the Hub should hold of a folder."""
    names = ("README.md", "manifest.json", "data/*")
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if path.is_file() and any(fnmatch(name, pattern) for pattern in names)
    }


def held(hub: Hub, kind: str = "datasets") -> dict[str, bytes]:
    return hub.held(REPO, kind)


def refused(folder: Path, **settings) -> str:
    with pytest.raises(SympatheiaError) as caught:
        publish(folder, **settings)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


# What is published


def test_the_hub_holds_what_the_folder_holds(hub, folder):
    assert publish(folder)
    assert held(hub) == sent(folder)
    assert len(held(hub)) == 5
    repository = hub.repository(REPO)
    assert not repository.private
    assert [message for message, _ in repository.commits] == [
        "initial commit",
        "Publish the corpus",
    ]
    lfs = {name for name, entry in repository.files.items() if entry.lfs}
    assert lfs == {name for name in sent(folder) if name.endswith(".parquet")}
    assert hub.keyed_puts == 0  # the storage is not shown the token


def test_publishing_again_changes_nothing(hub, folder):
    publish(folder)
    received = hub.received
    assert not publish(folder)
    assert len(hub.repository(REPO).commits) == 2
    assert (hub.count("commit"), hub.received) == (1, received)


def test_only_what_changed_is_sent_again(hub, folder):
    publish(folder)
    puts = hub.count("put")
    write_shard(folder / "data/neutral/train-00000-of-00001.parquet", seed=9)
    assert publish(folder)
    assert hub.count("put") == puts + 1
    assert held(hub) == sent(folder)


def test_shards_of_an_earlier_version_go(hub, folder):
    publish(folder)
    files = hub.repository(REPO).files
    files["banner.png"] = files["data/notes.txt"] = files["README.md"]  # not ours to remove
    (folder / "data/neutral/train-00000-of-00001.parquet").unlink()
    for part in range(2):
        write_shard(folder / f"data/neutral/train-0000{part}-of-00002.parquet", part)
    assert publish(folder)
    assert held(hub).keys() == sent(folder).keys() | {"banner.png", "data/notes.txt"}
    assert not publish(folder)


def test_a_tree_of_many_pages_is_verified_whole(hub, folder):
    hub.page = 2
    for part in range(9):
        write_shard(folder / f"data/neutral/eval-0000{part}-of-00009.parquet", part)
    assert publish(folder)
    assert held(hub) == sent(folder)
    assert hub.count("tree") > 5


def test_a_private_repository_is_asked_for(hub, folder):
    publish(folder, private=True)
    assert hub.repository(REPO).private
    assert not publish(folder)  # without --private it stays what it is
    assert hub.repository(REPO).private


def test_nothing_private_goes_into_a_public_repository(hub, folder):
    publish(folder)
    write_shard(folder / "data/neutral/train-00000-of-00001.parquet", seed=9)
    said = refused(folder, private=True)
    assert "public already" in said
    assert "nothing was sent" in said
    assert len(hub.repository(REPO).commits) == 2


def test_a_model_repository_with_another_selection(hub, tmp_path):
    folder = tmp_path / "adapter"
    (folder / "checkpoints" / "7").mkdir(parents=True)
    (folder / "checkpoints" / "7" / "optimizer.pt").write_bytes(b"o" * 1000)
    (folder / "adapter_model.safetensors").write_bytes(b"weights" * 1000)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    only = ("adapter_*", "README.md")
    settings = {"repo_type": "model", "only": only, "message": "An adapter"}
    assert publish(folder, **settings)
    assert held(hub, kind="models").keys() == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert hub.repository(REPO, "models").commits[-1][0] == "An adapter"
    assert Publication(folder, REPO, "model").url == f"{hub.url}/{REPO}"
    assert not publish(folder, **settings)


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
    monkeypatch.setattr(hub_upload, "SILENCE_SECONDS", 0.3)
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


def test_publish_as_a_command(env, folder):
    server = env.pop("hub")
    before = everything_in(folder.parent)
    server.fail("put", 500, skip=1)  # passes by itself
    server.fail("commit", 500)
    failed = sympatheia("publish", folder.parent, "--repo-id", REPO, "--private", **env)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "\nError: Uploading to someone/corpus failed at" in failed.stderr
    assert "Traceback" not in failed.stderr

    done = sympatheia("publish", folder.parent, "--repo-id", REPO, "--private", **env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{server.url}/datasets/{REPO}\n"
    assert "Published and verified: commit" in done.stderr
    assert held(server) == sent(folder)
    assert server.repository(REPO).private
    assert server.count("put") == 4  # the one that failed by itself, and none in the second call

    again = sympatheia("publish", folder, "--repo-id", REPO, "--debug", **env)
    assert again.returncode == 0, again.stderr
    assert "nothing to send" in again.stderr
    assert len(server.repository(REPO).commits) == 2
    for run in (failed, done, again):
        assert TOKEN not in run.stdout + run.stderr
        assert "signature" not in run.stderr
    assert everything_in(folder.parent) == before


@pytest.mark.parametrize("echo", ["someone", TOKEN])
def test_no_token_in_a_trace(env, folder, echo, tmp_path):
    server = env.pop("hub")
    server.fail("commit", 403, body={"error": f"{echo} may not"}, headers={"X-Key": echo})
    run = sympatheia("--debug", "publish", folder, "--repo-id", REPO, HF_DEBUG="1", **env)
    assert run.returncode == 1
    assert "Traceback" in run.stderr
    assert "token may not do that" in run.stderr
    assert "curl -X POST" in run.stderr  # that is what HF_DEBUG has the client show
    assert TOKEN not in run.stdout + run.stderr
    assert TOKEN.encode() not in everything_in(tmp_path)


def test_the_real_gates_are_asked(env, folder):
    server = env.pop("hub")
    run = sympatheia("publish", folder, "--repo-id", REPO, **env | {"PYTHONPATH": ""})
    assert run.returncode == 2, run.stderr
    assert "manifest.json" in run.stderr
    assert server.count("create") == 0


def test_a_dry_run_needs_no_token_and_sends_nothing(env, folder):
    server = env.pop("hub")
    env["HF_TOKEN"] = ""
    run = sympatheia("publish", folder.parent, "--repo-id", REPO, "--dry-run", **env)
    assert run.returncode == 0, run.stderr
    for name, content in sent(folder).items():
        assert f"{len(content):>15,}  {name}\n" in run.stdout
    assert "5 files" in run.stdout
    assert (folder / "README.md").read_text() in run.stdout
    assert ".DS_Store" not in run.stdout
    assert "Nothing was sent" in run.stderr

    run = sympatheia("publish", folder.parent, "--repo-id", REPO, **env)
    assert run.returncode == 1
    assert run.stderr.startswith("Error: There is no token for the Hub. Set HF_TOKEN")
    assert server.requests == []


# Wrong usage


@pytest.mark.parametrize(
    "repo_id", ["corpus", "a/b/c", "some one/corpus", "a/b..c", "/x", "x/", ""]
)
def test_a_malformed_repo_id_is_wrong_usage(folder, repo_id):
    with pytest.raises(InvalidInput, match="names no repository"):
        Publication(folder, repo_id)


def test_wrong_usage_has_its_own_exit_code(folder, tmp_path):
    for arguments in (
        (folder, "--repo-id", "a/b/c", "--dry-run"),
        (tmp_path, "--repo-id", REPO),
        (tmp_path / "nowhere", "--repo-id", REPO),
        (folder,),
    ):
        run = sympatheia("publish", *arguments, HF_TOKEN=TOKEN)
        assert run.returncode == 2, run.stderr
        assert "Traceback" not in run.stderr


def test_a_dataset_is_found_in_its_run_folder_and_alone(folder):
    assert find_dataset(folder.parent) == folder
    assert find_dataset(folder) == folder
    (folder / "README.md").unlink()
    with pytest.raises(InvalidInput, match="holds no dataset"):
        find_dataset(folder.parent)
    with pytest.raises(InvalidInput, match="holds no dataset"):
        find_dataset(folder / "data")


def test_a_run_at_work_is_not_published(folder):
    with RunFolder(folder.parent).locked(), pytest.raises(SympatheiaError, match="at work"):
        find_dataset(folder)


def test_a_file_that_cannot_be_read_is_told_as_such(hub, folder, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        error = RuntimeError("Error while uploading 'train.parquet' to the Hub.")
        raise error from PermissionError(13, "Permission denied", "train.parquet")

    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", fail)
    with pytest.raises(PermissionError):
        publish(folder)
