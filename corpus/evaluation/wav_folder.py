"""Any assistant's answers: a folder of sound files and a manifest that says what each answers."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, Field, ValidationError

from corpus.errors import InvalidInput, SympatheiaError
from corpus.plan.prompt_files import BUNDLED, read_anchors
from corpus.plan.user_input import explain, one_line
from schemas.slots import NEUTRAL, Subset

MANIFESTS = ("manifest.jsonl", "manifest.csv")
FILE = "file"


class _Line(BaseModel):
    """A line of the manifest; what else it holds is left aside.

    `file` is a path within the folder. A point that is not given is that of the emotion's anchor.
    """

    file: Annotated[str, Field(min_length=1)]
    emotion: Annotated[str, Field(min_length=1)]
    query_id: Annotated[str, Field(min_length=1)]
    id: str | None = None
    subset: Subset = NEUTRAL
    text: str | None = None
    query_text: str | None = None
    valence: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    arousal: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None


def is_wav_folder(folder: Path) -> bool:
    """Whether there is a manifest that lists sound files."""
    return any((folder / name).is_file() for name in MANIFESTS)


def read_wav_folder(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of a system, from its manifest; nothing of the sound is read.

    Raises:
        InvalidInput: the manifest is damaged, says too little, or names an id or a path wrongly.
    """
    points = {anchor.name: anchor.point for anchor in read_anchors(BUNDLED).anchors}
    seen: set[str] = set()
    for line in _lines(folder):
        row_id = _id(line)
        if row_id in seen:
            raise InvalidInput(
                f"{_manifest(folder)} has the id '{one_line(row_id)}' twice. Give each line an id, "
                "or each response its own emotion or query_id."
            )
        seen.add(row_id)
        point = points.get(line.emotion)
        if point is None and (line.valence is None or line.arousal is None):
            raise InvalidInput(
                f"{_manifest(folder)}: '{one_line(line.emotion)}' of '{one_line(row_id)}' is not "
                f"an anchor ({', '.join(points)}). Give its line valence and arousal."
            )
        yield {
            **line.model_dump(exclude={FILE}),
            "id": row_id,
            "valence": point.valence if line.valence is None and point else line.valence,
            "arousal": point.arousal if line.arousal is None and point else line.arousal,
            "status": "ok",
        }


def wavs(folder: Path, ids: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The sound files of some ids, in the manifest's order; one that is not there is left out."""
    for line in _lines(folder):
        path = folder / line.file
        if _id(line) in ids and path.is_file():
            yield _id(line), path.read_bytes()


def _id(line: _Line) -> str:
    return line.id or f"{line.query_id}-{line.emotion}"


def _manifest(folder: Path) -> Path:
    return next(folder / name for name in MANIFESTS if (folder / name).is_file())


def _lines(folder: Path) -> Iterator[_Line]:
    path = _manifest(folder)
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            found = [{k: v for k, v in row.items() if v} for row in table.to_dict("records")]
        else:
            found = pd.read_json(path, lines=True, dtype=False).to_dict("records")
            found = [{k: v for k, v in row.items() if not pd.isna(v)} for row in found]
    except (OSError, ValueError) as error:  # what pandas raises for what it cannot read
        raise InvalidInput(f"{path} cannot be read ({one_line(str(error))}).") from error
    for number, row in enumerate(found, start=1):
        try:
            line = _Line.model_validate(row)
        except ValidationError as error:
            raise InvalidInput(
                f"{path}, entry {number}: {explain(error)}. Each needs file, emotion and query_id; "
                "text, query_text, subset, id, valence and arousal may be there, too."
            ) from error
        if not (folder / line.file).resolve().is_relative_to(folder.resolve()):
            raise SympatheiaError(
                f"{path}, entry {number}: {one_line(line.file)} does not lie in {folder}."
            )
        yield line
