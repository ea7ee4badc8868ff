"""Publishing with the hub's own client, to a double of the Hub that fails on demand."""

import huggingface_hub
import pytest

from corpus.errors import InvalidInput, SympatheiaError
from corpus.hub.hub_upload import Publication, find_dataset
from corpus.run.run_folder import RunFolder
from tests.support.line import typed
from tests.support.published import REPO, held, publish, refused, sent, write_shard

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


# Wrong usage


@pytest.mark.parametrize(
    "repo_id", ["corpus", "a/b/c", "some one/corpus", "a/b..c", "/x", "x/", ""]
)
def test_a_malformed_repo_id_is_wrong_usage(folder, repo_id):
    with pytest.raises(InvalidInput, match="names no repository"):
        Publication(folder, repo_id)


def test_wrong_usage_has_its_own_exit_code(hub, folder, tmp_path):
    for arguments in (
        (folder, "--repo-id", "a/b/c", "--dry-run"),
        (tmp_path, "--repo-id", REPO),
        (tmp_path / "nowhere", "--repo-id", REPO),
        (folder,),
    ):
        run = typed("publish", *arguments)
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
