"""Gates about who speaks, of a corpus whose clips are cast."""

from collections import Counter, defaultdict

from corpus.checks.inspection import Inspection
from corpus.speech.clip_requests import QUERY, RESPONSE
from schemas.slots import SPLITS, PairSlot

TRAIN = SPLITS[0]

Cell = tuple[str, str, str]
"""Role, what speakers take turns in, and split."""


def check_speakers(look: Inspection) -> None:
    """Every clip is by someone who is cast for it, in turns, and speakers of eval stay there."""
    dataset, gates = look.dataset, look.gates
    plan, voice = dataset.blueprint.plan, dataset.manifest.voice
    if plan.cast is None:
        return
    gates.open("speaker_unknown", "eval_speaker_in_train", "speaker_balance")
    names = {QUERY: (*voice.query_voices, *voice.eval_voices), RESPONSE: voice.response_voices}
    turns: defaultdict[Cell, Counter[str]] = defaultdict(Counter)
    queries: set[str] = set()
    counted: set[tuple[Cell, int]] = set()  # a dialogue is one turn, however long it is
    for _, row in dataset.first_rows():
        slot = dataset.slots[row["id"]]
        roles = (RESPONSE,) if slot.query.id in queries else (QUERY, RESPONSE)
        queries.add(slot.query.id)
        for role in roles:
            speaker = row[f"{role}_speaker"]
            if speaker is None:
                continue
            cell = _cell(look, slot, role)
            turns[cell][speaker] += (cell, slot.query.number) not in counted
            counted.add((cell, slot.query.number))
            if speaker not in names[role]:
                gates.offend("speaker_unknown", f"{speaker} in {slot.id}")
            if slot.query.split == TRAIN and speaker in voice.eval_voices:
                gates.offend("eval_speaker_in_train", f"{speaker} in {slot.id}")
    worst, cell = max(
        ((_unevenness(found, _cast_of(look, cell)), cell) for cell, found in turns.items()),
        default=(0, ("", "", "")),
    )
    gates.measure("speaker_balance", worst, f"{cell[0]}, {cell[1]}, {cell[2]}")


def _cell(look: Inspection, slot: PairSlot, role: str) -> Cell:
    room = look.dataset.blueprint.room(slot)
    cell = slot.query.drawn_with if role == QUERY else room.response_cast(slot)
    return role, cell, slot.query.split


def _cast_of(look: Inspection, cell: Cell) -> tuple[str, ...]:
    voice, (role, _, split) = look.dataset.manifest.voice, cell
    if role == RESPONSE:
        return voice.response_voices
    return voice.eval_voices if split != TRAIN and voice.eval_voices else voice.query_voices


def _unevenness(found: Counter[str], cast: tuple[str, ...]) -> int:
    counts = [found[name] for name in cast]
    return max(counts) - min(counts) if counts else 0
