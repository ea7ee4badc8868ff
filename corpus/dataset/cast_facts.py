"""How much is heard of every speaker of a cast, for the card and the report."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from corpus.plan.cast import Cast
from corpus.run.stage_tables import Row
from corpus.speech.clip_requests import QUERY, RESPONSE
from schemas.prompts import Speaker
from schemas.slots import SPLITS


@dataclass(frozen=True, slots=True)
class Heard:
    """What is heard of a speaker: clips and minutes by split."""

    speaker: Speaker
    clips: dict[str, int]
    minutes: dict[str, float]

    def as_data(self) -> dict[str, Any]:
        """The same as plain data."""
        told = self.speaker.model_dump(include={"name", "gender", "age", "timbre"})
        return told | {"clips": self.clips, "minutes": self.minutes}


class CastFacts:
    """Counts rows as they go by; a query that several share counts once."""

    def __init__(self, cast: Cast | None) -> None:
        self._cast = cast
        self._queries: set[str] = set()
        self._clips: Counter[tuple[str, str]] = Counter()
        self._seconds: Counter[tuple[str, str]] = Counter()

    def add(self, row: Row) -> None:
        """Counts the clips of a row that are cast."""
        if self._cast is None:
            return
        roles = (RESPONSE,) if row["query_id"] in self._queries else (QUERY, RESPONSE)
        self._queries.add(row["query_id"])
        for role in roles:
            if name := row[f"{role}_speaker"]:
                self._clips[name, row["split"]] += 1
                self._seconds[name, row["split"]] += row[f"{role}_seconds"]

    def heard(self) -> list[Heard]:
        """Everyone who is cast, in the recipe's order."""
        speakers = self._cast.speakers if self._cast else {}
        return [
            Heard(
                speaker,
                {split: self._clips[name, split] for split in SPLITS},
                {split: round(self._seconds[name, split] / 60, 2) for split in SPLITS},
            )
            for name, speaker in speakers.items()
        ]
