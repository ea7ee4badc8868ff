"""Datasets that come back from the world: whoever reads one names what is wrong with it."""

import shutil
from pathlib import Path

import pytest

from corpus.adapter.training_sequences import encode_corpus
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.dataset.manifest import NAME
from corpus.dataset.published_layout import export
from corpus.errors import SympatheiaError
from corpus.opened import Corpus
from corpus.report.page import write_report
from schemas.slots import EMOTIONAL, NEUTRAL
from tests.support.datasets import POINTER, accept_files, rewrite, shard

CHECKPOINT = Path(__file__).parents[1] / "adapter" / "golden" / "whispervq" / "tokenizer"

READERS = {
    "report": lambda folder, output: write_report(DatasetFolder(folder), output),
    "export": export,
    "encode": lambda folder, output: encode_corpus(folder, CHECKPOINT, output=output),
    "notebook": lambda folder, _: list(Corpus.open(folder).pairs(audio=True)),
}
FILES = [name for name in READERS if name != "notebook"]


def setting(**values):
    """Sets columns of every row, so that whoever looks at some rows only sees it as well."""

    def act(folder):
        for part in (EMOTIONAL, NEUTRAL):
            rewrite(shard(folder, part), lambda rows: [row | values for row in rows])
        accept_files(folder)

    return act


def without_rows(folder):
    rewrite(shard(folder), lambda _: [])


def without_rows_in_the_manifest_either(folder):
    without_rows(folder)
    accept_files(folder)


def one_anothers(folder):
    def swap(rows):
        rows[0]["id"], rows[1]["id"] = rows[1]["id"], rows[0]["id"]

    rewrite(shard(folder), swap)
    accept_files(folder)


NOISE = {"bytes": b"<html>no sound</html>", "path": "x.flac"}
DAMAGE = {
    "no audio": (setting(query_audio=None), "The row emotional-.* has no query_audio", READERS),
    "audio without bytes": (
        setting(response_audio={"bytes": None, "path": "x.flac"}),
        "The row emotional-.*emotional/train-.*parquet has no response_audio",
        READERS,
    ),
    "audio of no bytes": (
        setting(response_audio={"bytes": b"", "path": "x.flac"}),
        "has no response_audio",
        READERS,
    ),
    "audio that is none": (
        setting(query_audio=NOISE),
        "[Tt]he query of (emotional|neutral)-.*cannot be decoded.*Build the corpus again",
        FILES,
    ),
    "no text": (setting(response_text=None), "has no response_text", READERS),
    "no number": (setting(query_seconds=float("nan")), "has no query_seconds", READERS),
    "a shard without rows": (without_rows, "has 0 rows, and 9 by the manifest", READERS),
    "fewer rows than planned": (
        without_rows_in_the_manifest_either,
        "The train rows of .* are not those of its plan .it has 21, planned are 30",
        FILES,
    ),
    "rows under another's id": (one_anothers, "are not those of its plan", FILES),
    "a pointer for a shard": (
        lambda folder: shard(folder).write_bytes(POINTER),
        "neutral/train-.*parquet is a Git LFS pointer.*'git lfs pull'",
        READERS,
    ),
    "a pointer for the manifest": (
        lambda folder: (folder / NAME).write_bytes(POINTER),
        "manifest.json is a Git LFS pointer.*'git lfs pull'",
        READERS,
    ),
    "a row that names a file elsewhere": (
        setting(response_emotion="../../../x"),
        "is planned to be .* and not .*../../../x",
        ("export",),
    ),
}


@pytest.mark.parametrize(
    ("what", "reader"),
    [(what, reader) for what, (*_, readers) in DAMAGE.items() for reader in readers],
)
def test_what_is_wrong_is_named_and_nothing_is_left(whole, tmp_path, what, reader):
    damage, sentence, _ = DAMAGE[what]
    folder = shutil.copytree(whole / "corpus", tmp_path / "dataset")
    damage(folder)
    with pytest.raises(SympatheiaError, match=sentence):
        READERS[reader](folder, tmp_path / "output")
    files = [path.name for path in (tmp_path / "output").rglob("*") if path.is_file()]
    assert not {"report.html", "encoded_train.jsonl"} & {*files}
    assert reader != "export" or files == []


@pytest.mark.parametrize("reader", READERS)
def test_a_clone_with_line_ends_of_another_system_is_read(whole, tmp_path, reader):
    folder = shutil.copytree(whole / "corpus", tmp_path / "dataset")
    manifest = folder / NAME
    manifest.write_bytes(b"\xef\xbb\xbf" + manifest.read_bytes().replace(b"\n", b"\r\n"))
    (folder / ".git" / "objects").mkdir(parents=True)
    (folder / ".git" / "objects" / "a.parquet").write_bytes(POINTER)
    assert READERS[reader](folder, tmp_path / "output")
