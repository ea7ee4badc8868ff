"""Checks a dataset folder from its files alone: every gate has a number, a limit and a verdict.

It works on any folder of this format, one downloaded from the Hub too, and trusts nothing that a
run remembers: files are compared with the manifest that travels with them, ids and splits with the
plan in it; near-duplicates are searched anew, and every clip is decoded and measured again. What
was found in the same bytes before need not be found out again (`corpus.checks.inspection`).
"""

from pathlib import Path

from corpus.checks.clip_gates import check_clips
from corpus.checks.file_gates import check_card, check_files, check_parquet
from corpus.checks.gates import Outcome
from corpus.checks.inspection import Inspection
from corpus.checks.row_gates import check_light_config, check_queries_apart, check_rows, check_texts
from corpus.checks.speaker_gates import check_speakers
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.run.progress import Progress


def check_folder(folder: Path, progress: Progress | None = None) -> list[Outcome]:
    """What comes of every gate of a run folder's dataset, or of a dataset folder.

    Args:
        folder: a run folder, or a dataset folder.
        progress: is told of everything that is looked at.

    Raises:
        InvalidInput: the folder holds no dataset of this format, or the model that compares
            queries cannot be loaded.
        SympatheiaError: a process that embeds or measures died.
    """
    look = Inspection(DatasetFolder(folder), progress=progress or Progress(None))
    check_clips(look)  # the first, since it reads each shard from the disk for all
    check_files(look)
    check_card(look)
    check_parquet(look)
    check_rows(look)
    check_speakers(look)
    check_light_config(look)
    check_queries_apart(look, check_texts(look))
    return look.gates.all
