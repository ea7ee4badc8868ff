from hashlib import sha256

import pytest

from corpus.store.clips import Blobs, DamagedClip
from corpus.store.opening import open_store

DIGEST = sha256(b"a request").hexdigest()
SOUND = b"sound " * 100

DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "torn": lambda path: path.write_bytes(SOUND[:50]),
    "zeroed": lambda path: path.write_bytes(b"\0" * len(SOUND)),
    "changed": lambda path: path.write_bytes(SOUND[:50] + b"!" + SOUND[51:]),
}
OF_THE_RIGHT_SIZE = ("zeroed", "changed")


@pytest.fixture
def clip(tmp_path):
    """A clip in a store, and where its file lies."""
    with open_store(tmp_path) as store:
        store.clips.put(DIGEST, SOUND)
        assert DIGEST in store.clips
        assert store.clips.read(DIGEST) == SOUND
    return tmp_path / "clips" / DIGEST[:2] / f"{DIGEST}.flac"


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_clip_is_not_read_and_another_takes_its_place(tmp_path, clip, how):
    DAMAGE[how](clip)
    with open_store(tmp_path) as store:
        assert (DIGEST in store.clips) == (how in OF_THE_RIGHT_SIZE)
        with pytest.raises(DamagedClip, match=f"{DIGEST}.flac is .* Run the same command again"):
            store.clips.read(DIGEST)
        store.let_go_of_clip(DIGEST)
        assert DIGEST not in store.clips
        store.clips.put(DIGEST, b"another")
    with open_store(tmp_path) as store:
        assert store.clips.read(DIGEST) == b"another"


def test_a_clip_of_releases_that_noted_no_digest_is_there_unless_it_is_empty(tmp_path):
    blobs = Blobs(tmp_path / "clips", ".flac")
    blobs.put(DIGEST, SOUND)
    with open_store(tmp_path) as store:
        assert DIGEST in store.clips
        assert store.clips.read(DIGEST) == SOUND
        assert not store.clips.vouched_for(DIGEST)
        store.clips.vouch_for(DIGEST, SOUND)
    blobs.path(DIGEST).write_bytes(b"")
    with open_store(tmp_path) as store:
        assert DIGEST not in store.clips


def test_a_clip_and_its_name_are_on_the_disk_before_what_rests_on_them(tmp_path, synced):
    with open_store(tmp_path) as store:
        store.clips.put(DIGEST, SOUND)
        folder = tmp_path / "clips" / DIGEST[:2]
        assert SOUND in [content for path, content in synced if path.parent == folder]
        store.sync()
        assert (folder, [f"{DIGEST}.flac"]) in synced
        assert {path.parent.name for path, _ in synced} >= {"clip_files"}


def test_a_store_syncs_by_itself_a_few_times_a_second(tmp_path, synced):
    with open_store(tmp_path) as store:
        store.completions.put(DIGEST, {"text": "x"})
        synced.clear()
        while not any(path.parent.name == "completions" for path, _ in synced):
            pass
