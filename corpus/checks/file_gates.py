"""Gates about the files of a dataset folder: that they are those of the manifest, whole and apt."""

import re
from collections import defaultdict
from hashlib import sha256

import pyarrow as pa
import yaml
from huggingface_hub import DatasetCard

from corpus.checks.inspection import Inspection
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.dataset.manifest import NAME, FileFacts, facts_of
from schemas.names import EVALUATION, EVALUATION_PAGE
from schemas.slots import SPLITS, TEXT
from schemas.tables import features

_SHARD = re.compile(r"data/(\w+)/(\w+)-(\d{5})-of-(\d{5})\.parquet")
_CARD_KEYS = ("license", "language", "size_categories", "task_categories", "tags")


def check_files(look: Inspection) -> None:
    """Every file of the manifest is there, unchanged, and there are no others."""
    dataset, gates = look.dataset, look.gates
    gates.open("file_missing", "file_not_in_manifest", "checksum", "shard_name")
    present = set(map(dataset.name, dataset.files()))
    for name, facts in dataset.manifest.files.items():
        if name not in present:
            gates.offend("file_missing", name)
        elif _facts(look, name) != facts:
            gates.offend("checksum", name)
    for name in sorted(present - set(dataset.manifest.files) - {NAME, EVALUATION, EVALUATION_PAGE}):
        gates.offend("file_not_in_manifest", name)
    parts: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for name in map(dataset.name, dataset.parquet_files()):
        match = _SHARD.fullmatch(name)
        if match and match[1] in (*dataset.blueprint.plan.subsets, TEXT) and match[2] in SPLITS:
            parts[match[1], match[2]].append((int(match[3]), int(match[4])))
        else:
            gates.offend("shard_name", name)
    for (part, split), numbers in parts.items():
        if sorted(numbers) != [(n, len(numbers)) for n in range(len(numbers))]:
            gates.offend("shard_name", f"data/{part}/{split}: not numbered in a row")


def _facts(look: Inspection, name: str) -> FileFacts:
    """What the manifest should say of a file."""
    path, facts = look.dataset.root / name, look.dataset.manifest.files[name]
    if path.suffix != ".parquet":
        # Version control may have given the lines of a card the ends of another system.
        lines = path.read_bytes().replace(b"\r\n", b"\n") if path.suffix == ".md" else b""
        same = sha256(lines).hexdigest() == facts.sha256
        return facts if same else facts_of(path, facts.rows)
    return FileFacts(bytes=path.stat().st_size, sha256=look.shard(path).digest, rows=facts.rows)


def _configs(dataset: DatasetFolder) -> dict[str, tuple[str, ...]]:
    """The card's configs, and the subsets whose rows each has."""
    subsets = dataset.blueprint.plan.subsets
    return {
        "default": subsets,
        **{str(subset): (subset,) for subset in subsets},
        TEXT: subsets,
    }


def check_card(look: Inspection) -> None:
    """The card can be read, has the Hub's metadata, and its configs have the rows planned."""
    dataset, gates = look.dataset, look.gates
    gates.open("card")
    path = dataset.root / "README.md"
    try:
        data = DatasetCard.load(path).data.to_dict()
        configs = {config["config_name"]: config for config in data["configs"]}
        infos = {info["config_name"]: info for info in data["dataset_info"]}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        gates.offend("card", f"{path.name} cannot be read: {error!r:.100}")
        return
    for key in _CARD_KEYS:
        if not data.get(key):
            gates.offend("card", f"its metadata has no {key}")
    for config, subsets in _configs(dataset).items():
        for split in SPLITS:
            rows = sum(
                slot.query.split == split and slot.query.subset in subsets
                for slot in dataset.slots.values()
            )
            said = [s for s in infos.get(config, {}).get("splits", ()) if s["name"] == split]
            if rows != sum(s["num_examples"] for s in said):
                gates.offend("card", f"{config}, {split}: not {rows} rows, as planned")
            patterns = [
                pattern
                for entry in configs.get(config, {}).get("data_files", ())
                if entry["split"] == split
                for pattern in entry["path"]
            ]
            if rows and not patterns:
                gates.offend("card", f"{config}, {split}: it names no files")
            for pattern in patterns:
                if not any(dataset.root.glob(pattern)):
                    gates.offend("card", f"{config}, {split}: {pattern} matches no file")


def check_parquet(look: Inspection) -> None:
    """Every Parquet file can be read, by `datasets` too; fills `dataset.readable`."""
    dataset, gates = look.dataset, look.gates
    dataset.readable = []
    gates.open("unreadable", "columns", "features", "page_index", "rows_in_file")
    largest_shard = largest_group = 0
    for path in dataset.parquet_files():
        name = dataset.name(path)
        shard = look.shard(path)
        meta, schema = shard.meta, shard.schema
        if meta is None or schema is None:
            gates.offend("unreadable", f"{name}: {shard.problem}")
            continue
        wrong = dataset.wrong_columns(path, schema)
        if wrong:
            gates.offend("columns", f"{name}: {wrong}")
            continue
        dataset.readable.append(path)
        if path.parent.name != TEXT and not _has_features(schema, dataset.blueprint.plan.columns):
            gates.offend("features", name)
        groups = [meta.row_group(n) for n in range(meta.num_row_groups)]
        if not all(group.column(0).has_offset_index for group in groups):
            gates.offend("page_index", name)
        facts = dataset.manifest.files.get(name)
        if facts is not None and facts.rows != meta.num_rows:
            gates.offend("rows_in_file", f"{name}: {meta.num_rows}, not {facts.rows}")
        largest_shard = max(largest_shard, path.stat().st_size)
        largest_group = max([largest_group, *(group.total_byte_size for group in groups)])
    slow = "the Hub's viewer and streaming are slow beyond"
    gates.measure("largest_shard_bytes", largest_shard, slow)
    gates.measure("largest_row_group_bytes", largest_group, slow)


def _has_features(schema: pa.Schema, added: tuple[str, ...]) -> bool:
    """Whether `datasets` sees what the format promises, audio above all."""
    from datasets import Features  # type: ignore[import-untyped]

    read = Features.from_arrow_schema(schema).to_dict()
    return all(
        read.get(name, {}).get("_type") == feature.get("_type")
        for name, feature in features(added).items()
    )
