"""What tests of publishing share: steps of the flow without Prefect, and what the Hub then has."""

from fnmatch import fnmatch
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.errors import SympatheiaError
from corpus.hub.hub_upload import Publication
from schemas.tables import TEXT_ROWS
from tests.support.hub_server import TOKEN, Hub

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


REPO = "someone/corpus"


def publish(folder: Path, repo_id: str = REPO, **settings) -> bool:
    """The steps of the flow after the gates, without Prefect; whether the Hub has changed."""
    publication = Publication(folder, repo_id, **settings)
    before = publication.create()
    publication.require_free_tag(before)
    commit = publication.upload()
    publication.verify(commit)
    publication.mark(commit)
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
