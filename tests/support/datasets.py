"""Dataset folders that were damaged: by hand, on their way, or by a tool that meant well."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.dataset.manifest import NAME, facts_of
from schemas.tables import ROWS, TEXT_ROWS

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 123456\n" % (b"0" * 64)
"""What Git LFS leaves in the place of a file that it did not fetch."""


def shard(folder, part="neutral", split="train"):
    (path,) = (folder / "data" / part).glob(f"{split}-*.parquet")
    return path


def rewrite(path, change, schema=None, **options):
    """Writes a shard again with its rows as `change` leaves or returns them."""
    schema = schema or (TEXT_ROWS if path.parent.name == "text" else ROWS)
    rows = pq.read_table(path).to_pylist()
    changed = change(rows)
    table = pa.Table.from_pylist(rows if changed is None else changed, schema=schema)
    pq.write_table(table, path, **{"write_page_index": True, **options})


def accept_files(folder):
    """Brings the manifest in line with the files, so that other gates have to find the damage."""
    path = folder / NAME
    manifest = json.loads(path.read_bytes())
    manifest["files"] = {
        file.relative_to(folder).as_posix(): facts_of(
            file, pq.read_metadata(file).num_rows if file.suffix == ".parquet" else None
        ).model_dump()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != path
    }
    path.write_text(json.dumps(manifest))
