"""Naming a version: what a tag marks, and that it stays what it was."""

import pytest
from pydantic import ValidationError

from corpus.errors import InvalidInput
from corpus.hub.hub_upload import Publication
from schemas.orders import PublishOrder
from tests.support.line import typed
from tests.support.published import REPO, held, publish, refused, sent, write_shard


def tags(hub, kind="datasets"):
    return hub.repository(REPO, kind).tags


def change(folder):
    write_shard(folder / "data/neutral/train-00000-of-00001.parquet", seed=9)


def test_a_tag_marks_the_commit_that_was_published(hub, folder):
    assert publish(folder, tag="v1")
    first = hub.repository(REPO).oid()
    change(folder)
    assert publish(folder, tag="v2.0-rc_1")
    assert tags(hub) == {"v1": first, "v2.0-rc_1": hub.repository(REPO).oid()}


def test_the_same_tag_of_the_same_files_is_fine(hub, folder):
    publish(folder, tag="v1")
    assert not publish(folder, tag="v1")
    assert hub.count("tag") == 1


def test_what_was_published_without_a_tag_can_be_given_one(hub, folder):
    publish(folder)
    assert not publish(folder, tag="v1")
    assert tags(hub) == {"v1": hub.repository(REPO).oid()}


def test_a_tag_is_not_moved_to_other_files_and_nothing_is_sent(hub, folder):
    publish(folder, tag="v1")
    before, received, marked = held(hub), hub.received, tags(hub)["v1"]
    change(folder)
    said = refused(folder, tag="v1")
    assert f"The tag 'v1' of {hub.url}/datasets/{REPO} marks commit {marked[:12]} already" in said
    assert "nothing was sent" in said
    assert (held(hub), hub.received, tags(hub)) == (before, received, {"v1": marked})


def test_a_tag_of_an_earlier_commit_is_not_moved_either(hub, folder):
    publish(folder, tag="v1")
    change(folder)
    publish(folder)
    commits = len(hub.repository(REPO).commits)
    assert "stays what it was" in refused(folder, tag="v1")
    assert len(hub.repository(REPO).commits) == commits


def test_files_that_are_left_over_on_the_hub_are_other_files(hub, folder):
    publish(folder, tag="v1")
    (folder / "data/neutral/train-00000-of-00001.parquet").unlink()
    assert "stays what it was" in refused(folder, tag="v1")


@pytest.mark.parametrize("how", [403, 500, "drop", "lose"])
def test_a_tag_that_could_not_be_set_is_set_by_the_next_call(hub, folder, how):
    hub.fail("tag", how)
    said = refused(folder, tag="v1")
    assert "Setting the tag 'v1' of someone/corpus failed" in said
    assert said.endswith("run the same command again: it goes on from there.")
    assert held(hub) == sent(folder)
    assert not publish(folder, tag="v1")
    assert tags(hub) == {"v1": hub.repository(REPO).oid()}


def test_a_hub_that_does_not_list_its_tags_is_sent_nothing(hub, folder):
    hub.fail("refs", 500, times=9)
    assert "Listing the tags of someone/corpus failed" in refused(folder, tag="v1")
    assert hub.received == 0


def test_an_adapter_can_have_a_tag_too(hub, folder):
    publish(folder, repo_type="model", tag="v1")
    assert tags(hub, "models") == {"v1": hub.repository(REPO, "models").oid()}


@pytest.mark.parametrize(
    "name", ["", " ", "-v1", ".v1", "v 1", "v1/x", "v1..2", "v1.", "v1.lock", "vé", "v1\n", "main"]
)
def test_a_name_that_is_none_is_refused_before_anything_else(hub, folder, name):
    with pytest.raises(InvalidInput, match="--tag"):
        Publication(folder, REPO, tag=name)
    ran = typed("publish", folder, "--repo-id", REPO, "--tag", name)
    assert ran.returncode == 2, ran.stderr
    assert hub.requests == []


@pytest.mark.parametrize("name", ["", "v 1", "v1/x"])
def test_an_order_with_such_a_name_is_no_order(folder, name):
    with pytest.raises(ValidationError, match="tag"):
        PublishOrder(folder=folder, repo_id=REPO, tag=name)
