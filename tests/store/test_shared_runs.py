"""Whole runs over a shared store."""

from corpus.dataset.storage_copy import copy_out
from corpus.plan.blueprint import Blueprint
from corpus.run.run_folder import RunFolder
from corpus.store import shared_store
from flows.work import at_work
from tests.store.test_shared_store import digest, sent, texts
from tests.support.fake_servers import FakeTextServer
from tests.support.line import speak_and_pack, write_recipe, write_run
from tests.support.s3_server import Fault


def test_a_build_opens_the_store_that_its_recipe_names(tmp_path, url):
    blueprint = Blueprint.named("demo", [f'storage.url="{url}"'])
    with at_work(RunFolder(tmp_path), blueprint, "plan") as work:
        work.run.store.completions.put(digest("a"), {"text": "x"})
    assert texts(tmp_path / "other", url, "a") == ["x"]


def test_a_corpus_built_over_a_failing_s3_is_the_local_one_and_is_never_paid_for_again(
    tmp_path, url, s3, bucket, monkeypatch
):
    monkeypatch.setattr(shared_store, "SHARE_EVERY_SECONDS", 0.3)
    target = f"s3://{bucket}/corpus"
    # Processes that speak and listen take their time to start.
    small = ("emotional.pairs_per_anchor=2", "neutral.queries=1")
    small += ("speech.concurrency=1", "speech.prosody=false")
    shared = (*small, f'storage.url="{url}"', f'shards.target="{target}"')
    with FakeTextServer() as texts_of:
        recipe = write_recipe(tmp_path / "small.toml", texts_of.base_url, anchors=("sad", "angry"))
        local = write_run(tmp_path / "local", recipe, *small)
        speak_and_pack(local)

        s3.faults = [
            Fault("error", "PUT .*records/completions", 2),  # one more than is tried at once
            Fault("drop", "PUT .*records"),
            Fault("slow down", "PUT .*flac", 2),
            Fault("drop", "PUT .*flac", 2),
            Fault("short", "GET .*flac", 2),
            Fault("error", "GET .*flac"),
            Fault("slow", "GET .*flac", 2),
            Fault("drop", "GET .*list-type=2.*clips"),
            Fault("error", "PUT .*corpus/data"),
            Fault("drop", "PUT .*corpus/data"),
        ]
        first = write_run(tmp_path / "first", recipe, *shared)
        speak_and_pack(first)
        copy_out(first.corpus, target)
        assert all(fault.count == 0 for fault in s3.faults)
        expected = {
            f"corpus/{path.relative_to(local.corpus).as_posix()}": path.read_bytes()
            for path in local.corpus.rglob("*")
            if path.is_file()
        }
        assert s3.objects(bucket, "corpus/") == expected
        assert not (first.store / "clips").exists()

        asked, begun = texts_of.count, len(s3.requests)
        second = write_run(tmp_path / "second", recipe, *shared)
        speak_and_pack(second)
        assert copy_out(second.corpus, target) == 0
    assert texts_of.count == asked
    assert sent(s3.requests[begun:]) == []
    assert list(second.store.glob("*/*.jsonl")) == []
