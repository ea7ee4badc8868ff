from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, DatasetCardData

from tests.support.hub_client import hub_of_this_process
from tests.support.published import SHARDS, write_shard


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
