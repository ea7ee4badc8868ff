"""Checks a dataset folder from its files alone: every gate has a number, a limit and a verdict.

It works on any folder of this format, one downloaded from the Hub too, and trusts nothing that a
run remembers: files are compared with the manifest that travels with them, ids and splits with the
plan in it; near-duplicates are searched anew, and every clip is decoded and measured again.
"""

from pathlib import Path

from corpus.checks.clip_gates import check_clips
from corpus.checks.file_gates import check_card, check_files, check_parquet
from corpus.checks.gates import Gate, Gates
from corpus.checks.row_gates import check_light_config, check_queries_apart, check_rows, check_texts
from corpus.dataset.dataset_folder import DatasetFolder, dataset_root


def check_folder(folder: Path) -> list[Gate]:
    """Every gate of a run folder's dataset, or of a dataset folder.

    Raises:
        InvalidInput: the folder holds no dataset of this format, or the model that compares
            queries cannot be loaded.
        SympatheiaError: a process that embeds or measures died.
    """
    dataset = DatasetFolder(dataset_root(folder))
    gates = Gates()
    check_files(dataset, gates)
    check_card(dataset, gates)
    check_parquet(dataset, gates)
    check_rows(dataset, gates)
    check_light_config(dataset, gates)
    queries = check_texts(dataset, gates)
    check_queries_apart(dataset, gates, queries)
    check_clips(dataset, gates)
    return gates.all
