"""Systems that answer, side by side: where their responses come from, whatever kind of folder.

A corpus is a system, too: its own responses are what an adapter is trained towards. A responses
folder has one system for each condition under which it was asked; a folder of WAV files with a
manifest brings any other assistant's answers.
"""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from corpus.adapter.inference.responses_folder import TABLE
from corpus.dataset.dataset_folder import UNREADABLE, DatasetFolder, batches
from corpus.dataset.manifest import NAME as MANIFEST
from corpus.errors import InvalidInput, SympatheiaError
from corpus.evaluation.wav_folder import is_wav_folder, read_wav_folder, wavs
from corpus.plan.prompt_files import BUNDLED, read_anchors
from corpus.run.run_folder import RunFolder
from schemas.prompts import Anchor, AnchorFile
from schemas.recipe_evaluation import Evaluation
from schemas.slots import EMOTIONAL
from schemas.tables import ANSWERS

COLUMNS = (
    *("id", "query_id", "subset", "emotion", "valence", "arousal"),
    *("told_valence", "told_arousal", "condition", "status", "text", "query_text", "topic"),
)
"""Of a system's rows. `valence` and `arousal` are the target's; what the model was told is beside
them, null where it was not told. What a system does not say is null."""
TOLD, NOISE, SCALE = "affect", "affect~", "affect*"
"""Conditions of a responses folder: told the target's point; with noise; drawn to the middle."""
CLIPS_AT_ONCE = 8
"""Clips in memory while a table is read, half a megabyte each."""

Sounds = Callable[[AbstractSet[str]], Iterator[tuple[str, bytes]]]
"""From ids to these and their sound files, in the rows' order."""


@dataclass(frozen=True, slots=True)
class System:
    """A system, and its response in each row.

    Attributes:
        name: how it is called: its folder's name, with its condition where the folder has several.
        folder: where it was opened.
        kind: "corpus", "responses" or "wav".
        condition: under which it was asked; empty where there is but one.
        rows: `COLUMNS`, in order, by id.
        sounds: reads sound files.
        is_variant: whether it was asked for a point beside the target's, which is a study beside
            the folder's first system.
    """

    name: str
    folder: Path
    kind: str
    condition: str
    rows: pd.DataFrame
    sounds: Sounds
    is_variant: bool = False


def open_systems(folders: Sequence[Path], settings: Evaluation) -> list[System]:
    """The systems of some folders, in order, each with a name of its own.

    Raises:
        InvalidInput: a folder is of none of the kinds, or its manifest is damaged.
        SympatheiaError: a table is missing or damaged, or a system has no responses.
    """
    names = _names(folders)
    systems = [
        system
        for folder, name in zip(folders, names, strict=True)
        for system in _opened(folder, name, settings)
    ]
    asked = _queries(systems)
    return [_with_queries(_limited(system, settings.limit), asked) for system in systems]


def anchors_of(folders: Sequence[Path]) -> dict[str, Anchor]:
    """The anchors by name: those of the corpora among some folders, and the bundled ones."""
    files: list[AnchorFile] = [
        DatasetFolder(folder).blueprint.prompts.anchor_file
        for folder in folders
        if _is_corpus(folder)
    ]
    files.append(read_anchors(BUNDLED))
    return {anchor.name: anchor for file in reversed(files) for anchor in file.anchors}


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with so many folders before them as it takes to tell them apart."""
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise InvalidInput("A folder is named twice. Name each once.")
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _is_corpus(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() or (RunFolder(folder).corpus / MANIFEST).is_file()


def _opened(folder: Path, name: str, settings: Evaluation) -> list[System]:
    if _is_corpus(folder):
        return [_corpus(folder, name, settings)]
    if (folder / TABLE).is_file():
        return _conditions(folder, name)
    if is_wav_folder(folder):
        rows = _frame(read_wav_folder(folder))
        return [System(name, folder, "wav", "", rows, lambda ids: wavs(folder, ids))]
    raise InvalidInput(
        f"{folder} holds nothing to evaluate: no corpus ({MANIFEST}, of a run or a dataset "
        f"folder), no responses ({TABLE}, by 'sympatheia respond') and no WAV files with a "
        "manifest.jsonl or manifest.csv."
    )


def _corpus(folder: Path, name: str, settings: Evaluation) -> System:
    dataset = DatasetFolder(folder)
    split = None if settings.split == "all" else settings.split
    found = (
        {
            "id": row["id"],
            "query_id": row["query_id"],
            "subset": row["subset"],
            "emotion": row["response_emotion"],
            "valence": row["valence"],
            "arousal": row["arousal"],
            "told_valence": row["valence"],
            "told_arousal": row["arousal"],
            "status": "ok",
            "text": row["response_text"],
            "query_text": row["query_text"],
            "topic": row["topic"],
        }
        for row in dataset.pairs(split=split)
    )

    def sounds(ids: AbstractSet[str]) -> Iterator[tuple[str, bytes]]:
        for row in dataset.pairs_with_audio(ids):
            yield row["id"], row["response_audio"]["bytes"]

    return System(name, folder, "corpus", "", _frame(found), sounds)


def _conditions(folder: Path, name: str) -> list[System]:
    """A system for each condition; the one told the target's point comes first, if it is there.

    The first has the folder's name alone.
    """
    path = folder / TABLE
    columns = [column for column in ANSWERS.names if column not in ("audio", "tokens", "prompt")]
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=columns).to_pandas()
    except (*UNREADABLE, KeyError) as error:
        raise SympatheiaError(
            f"{path} is damaged ({error}). Run 'sympatheia respond' again: it is written anew from "
            "what is on file."
        ) from error
    told = table.rename(columns={"valence": "told_valence", "arousal": "told_arousal"})
    told = told.rename(columns={"target_valence": "valence", "target_arousal": "arousal"})
    conditions = list(dict.fromkeys(told["condition"]))
    # Else as they were asked.
    conditions.sort(key=lambda one: (one.startswith((NOISE, SCALE)), one != TOLD))
    systems = []
    for number, condition in enumerate(conditions):
        rows = _frame(told[told["condition"] == condition].to_dict("records"))
        several = len(conditions) > 1
        systems.append(
            System(
                f"{name}/{condition}" if number else name,
                folder,
                "responses",
                condition if several else "",
                rows,
                lambda ids: _answers(path, ids),
                is_variant=number > 0 and condition.startswith((NOISE, SCALE)),
            )
        )
    return systems


def _answers(path: Path, ids: AbstractSet[str]) -> Iterator[tuple[str, bytes]]:
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                there = file.read_row_group(group, columns=["id"])["id"].to_pylist()
                if ids.isdisjoint(there):
                    continue
                for batch in batches(file, CLIPS_AT_ONCE, ("id", "audio"), (group,)):
                    for row in batch.to_pylist():
                        if row["id"] in ids and row["audio"]:
                            yield row["id"], row["audio"]["bytes"]
    except UNREADABLE as error:
        raise SympatheiaError(f"{path} is damaged. Run 'sympatheia respond' again.") from error


def _frame(found: Any) -> pd.DataFrame:  # noqa: ANN401  (records of any kind)
    rows = pd.DataFrame(list(found)).reindex(columns=list(COLUMNS))
    return rows.set_index("id", drop=False).rename_axis(None)


def _limited(system: System, limit: int) -> System:
    if not len(system.rows):
        raise SympatheiaError(f"{system.name} has no responses to evaluate.")
    if not limit:
        return system
    emotional = system.rows["subset"] == EMOTIONAL
    cells = system.rows["subset"].where(~emotional, system.rows["emotion"])
    kept: set[str] = set()
    for _, found in system.rows.groupby(cells, sort=False):
        queries = found["query_id"].unique()
        most = min(limit, len(queries))
        kept.update(queries[place * len(queries) // most] for place in range(most))
    return replace(system, rows=system.rows[system.rows["query_id"].isin(kept)])


def _queries(systems: Sequence[System]) -> pd.DataFrame:
    """What the corpora among them say of queries, by id."""
    corpora = [one.rows for one in systems if one.kind == "corpus"]
    if not corpora:
        return pd.DataFrame(columns=["query_text", "topic"])
    said = pd.concat(corpora)[["query_id", "query_text", "topic"]]
    return said.drop_duplicates("query_id").set_index("query_id")


def _with_queries(system: System, asked: pd.DataFrame) -> System:
    """A system whose rows know their queries' words, where a corpus beside it has them."""
    if system.kind == "corpus":
        return system
    rows = system.rows.copy()
    for column in asked.columns:
        rows[column] = rows[column].where(
            rows[column].notna(), rows["query_id"].map(asked[column].to_dict())
        )
    return replace(system, rows=rows)
