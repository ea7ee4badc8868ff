"""Writes a system's responses as URO-Bench reads them, which lists GLM-4-Voice among others.

Its marking scripts (github.com/Ruiqi-Yan/URO-Bench) read three files of lines and a folder:
`question_text.jsonl`, `pred_text.jsonl` and `gt_text.jsonl`, each line an object of one number of
four digits and a text, and `audio/NUMBER.wav`. Where it has no reference it takes the question for
one, and so does this.
"""

import json
from pathlib import Path

from corpus.errors import InvalidInput
from corpus.evaluation.systems import open_systems
from corpus.sound.sound_files import recode
from corpus.store.files import make_folder, write_whole
from schemas.recipe_evaluation import Evaluation

TEXTS = {"question_text": "query_text", "pred_text": "text", "gt_text": "query_text"}
"""Its files, and the column that each takes."""
MOST = 10_000
"""Responses that four digits number."""
INDEX = "ids.json"
"""Which number is which response; URO-Bench does not read it."""


def export(folder: Path, output: Path) -> int:
    """Writes the responses of a folder's first system.

    Args:
        folder: a corpus, a responses folder, or one of WAV files with a manifest.
        output: where they go; it must not be there, or be empty.

    Returns:
        How many responses were written.

    Raises:
        InvalidInput: the folder holds no responses, there are too many, or the output is taken.
        SympatheiaError: a file is damaged.
        OSError: the disk is full or fails.
    """
    system = open_systems([folder], Evaluation())[0]
    if len(system.rows) > MOST:
        raise InvalidInput(
            f"{folder} has {len(system.rows):,} responses, and URO-Bench numbers {MOST:,} at most. "
            "Have fewer answered, with --limit."
        )
    if output.exists() and any(output.iterdir()):
        raise InvalidInput(f"{output} is not empty. Name another folder.")
    numbers = {row_id: f"{number:04}" for number, row_id in enumerate(system.rows["id"])}
    make_folder(output / "audio")
    for row_id, sound in system.sounds(set(numbers)):
        wav, *_ = recode(sound, "WAV")
        write_whole(output / "audio" / f"{numbers[row_id]}.wav", wav)
    for name, column in TEXTS.items():
        texts = zip(numbers.values(), system.rows[column].fillna(""), strict=True)
        lines = [json.dumps({number: text}, ensure_ascii=False) for number, text in texts]
        write_whole(output / f"{name}.jsonl", ("\n".join(lines) + "\n").encode())
    write_whole(output / INDEX, json.dumps(numbers, indent=1).encode())
    return len(numbers)
