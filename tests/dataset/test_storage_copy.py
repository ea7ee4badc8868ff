"""Copies of a dataset folder on storage that fsspec opens: complete, cheap to repeat, resumable."""

import shutil

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from corpus.checks.dataset_check import check_folder
from corpus.dataset.storage_copy import copy_out
from corpus.errors import InvalidInput, SympatheiaError


@pytest.fixture
def dataset(whole, tmp_path):
    return shutil.copytree(whole / "corpus", tmp_path / "dataset")


@pytest.fixture
def bucket():
    MemoryFileSystem.store.clear()
    yield "memory://bucket/corpus"
    MemoryFileSystem.store.clear()


def there(url):
    storage, root = fsspec.core.url_to_fs(url)
    return {path.removeprefix(f"{root}/"): storage.cat_file(path) for path in storage.find(root)}


def here(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_copy_has_every_file_to_the_byte_and_a_second_sends_nothing(dataset, bucket):
    files = here(dataset)
    assert copy_out(dataset, bucket) == len(files)
    assert there(bucket) == files
    assert copy_out(dataset, bucket) == 0


def test_a_copy_on_a_file_system_is_a_dataset_folder(dataset, tmp_path):
    copy_out(dataset, (tmp_path / "mounted" / "copy").as_uri())
    assert [g.name for g in check_folder(tmp_path / "mounted" / "copy") if not g.passed] == []


def test_what_changed_is_sent_and_what_is_gone_is_removed(dataset, bucket):
    copy_out(dataset, bucket)
    storage, root = fsspec.core.url_to_fs(bucket)
    listed = storage.cat_file(f"{root}/manifest.json")
    stale = listed.replace(b'"files":{', b'"files":{"data/old.parquet":{"bytes":1,"rows":1},', 1)
    stale = stale.replace(b'"files": {', b'"files": {"data/old.parquet":{"bytes":1,"rows":1},', 1)
    assert stale != listed
    storage.pipe_file(f"{root}/manifest.json", stale)
    storage.pipe_file(f"{root}/data/old.parquet", b"x")
    storage.pipe_file(f"{root}/README.md", b"cut short")
    assert copy_out(dataset, bucket) == 2  # the card and the manifest
    assert there(bucket) == here(dataset)


def test_a_copy_that_was_cut_short_is_completed(dataset, bucket, monkeypatch):
    real, calls = MemoryFileSystem.put_file, []

    def full_after_three(self, *arguments, **options):
        calls.append(arguments)
        if len(calls) == 4:
            raise OSError("no space left in the bucket")
        return real(self, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", full_after_three)
    with pytest.raises(SympatheiaError, match="no space left in the bucket.*run the same command"):
        copy_out(dataset, bucket)
    assert "manifest.json" not in there(bucket)
    copy_out(dataset, bucket)
    assert there(bucket) == here(dataset)


def test_an_address_that_nothing_opens_is_refused(dataset):
    with pytest.raises(InvalidInput, match=r"shards\.target: nowhere://x"):
        copy_out(dataset, "nowhere://x/y")
