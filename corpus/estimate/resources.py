"""What the rest of a run takes of servers, money, time and disk, given what it will ask for."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from corpus.estimate import rules_of_thumb as thumb
from corpus.estimate.ranges import NOTHING, Range, total
from corpus.estimate.remaining_work import CLIPS, TEXTS, Part
from corpus.plan.blueprint import Blueprint
from corpus.run.budget import answered
from corpus.run.progress_file import read_progress
from corpus.run.run_folder import RunFolder
from corpus.store.digest_store import Store
from schemas.recipe import Llm, Speech

CLIPS_READ = 200
"""Clips whose size is looked at: a mean to a few hundredths."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What is left to be asked for of one kind of server; tokens are None if it counts none."""

    requests: Range
    prompt_tokens: Range | None
    completion_tokens: Range | None
    seconds: Range

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.requests + other.requests,
            _both(self.prompt_tokens, other.prompt_tokens),
            _both(self.completion_tokens, other.completion_tokens),
            self.seconds + other.seconds,
        )


def _both(one: Range | None, other: Range | None) -> Range | None:
    return one + other if one and other else None


class Resources:
    """What the rest of a run takes.

    Args:
        blueprint: what the run makes.
        folder: where it makes it.
        store: its store.
        parts: what is on file and what is left.
        texts: what is left to ask of the text model.
        clips: what is left to ask of the voice.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        folder: RunFolder,
        store: Store,
        parts: list[Part],
        texts: Sums,
        clips: Sums,
    ) -> None:
        self._recipe = recipe = blueprint.recipe
        self._folder = folder
        self._store = store
        self._parts = parts
        self._texts, self._clips = texts, clips
        self._used = read_progress(folder.progress)["servers"]
        self._published: list[str] = []
        self._served = {
            "llm": bool(recipe.llm.endpoints or recipe.llm.vllm.started),
            "speech": recipe.speech.backend == "openai",
        }
        self._seconds = {
            "llm": self._measured("llm", texts.requests, store.completions.own_count, TEXTS),
            "speech": self._measured(
                "speech", clips.requests, store.clip_measures.own_count, CLIPS
            ),
        }
        self._hours = {"llm": self._hours_of("llm"), "speech": self._hours_of("speech")}

    def gpu_hours(self) -> Range | None:
        """GPU-hours of text model and voice; what the builtin ones take is none."""
        return _all(self._hours.values())

    def cost(self) -> Range | None:
        """What these GPU-hours cost."""
        return _all(self._cost_of(section) for section in self._hours)

    def wall_seconds(self) -> Range | None:
        """From the start to the last clip; clips may be spoken while texts are written."""
        each = [self._wall_of("llm"), self._wall_of("speech")]
        both = _all(each)
        return both and Range(max(one.low for one in each if one), both.high)

    def disk_bytes(self) -> Range:
        """What the store grows by, and the dataset, which is written as a whole."""
        made = sum(t.seconds for part in self._parts for t in part.tried if t.full)
        if self._folder.corpus.exists() and not any(part.left for part in self._parts):
            return NOTHING
        texts = self._texts.requests.times(thumb.BYTES_A_TEXT)
        a_second = self._bytes_a_second()
        dataset = self._clips.seconds + Range(made, made)
        return (self._clips.seconds + dataset).times(a_second.low, a_second.high) + texts

    def notes(self, requests: Range | None) -> Iterator[str]:
        """What a person should know of these figures."""
        for section in self._published:
            yield f"{section}: GPU-hours by what the published run took, on NVIDIA L40."
        yield (
            "Near-duplicates become more frequent as a corpus grows: what is on file shows only "
            "how many there were until now."
        )
        if self._recipe.speech.judge.model:
            yield "speech.judge: its grades, one a clip or more, are in none of these figures."
        most = self._recipe.limits.requests
        used = answered(self._recipe, self._store)
        if most and requests and used + requests.high > most:
            yield f"limits.requests, {most:,}, may stop the run: {used:,} are answered already."

    # Sections

    def _of(self, section: str) -> Llm | Speech:
        return self._recipe.llm if section == "llm" else self._recipe.speech

    def _measured(
        self, section: str, requests: Range, answers: int, kinds: tuple[str, ...]
    ) -> Range | None:
        """Seconds at work that are left to the servers of a section, by those they have taken."""
        if not requests.high:
            return NOTHING
        seconds = self._used.get(section, {}).get("seconds")
        if not seconds or not answers:
            return None
        # Few slots leave large servers half idle: what is in flight was at most one a slot.
        slots = sum(len(part.tried) for part in self._parts if part.kind in kinds)
        busy = min(1.0, slots / self._of(section).concurrency)
        return requests.times(seconds / answers * busy, seconds / answers)

    def _hours_of(self, section: str) -> Range | None:
        if not self._served[section]:
            return NOTHING
        seconds, gpus = self._seconds[section], self._of(section).gpus
        if seconds == NOTHING or (seconds and gpus):
            return seconds and seconds.times(gpus / 3600)
        published = self._published_texts() if section == "llm" else self._published_clips()
        self._published += [section] if published else []
        return published

    def _published_texts(self) -> Range | None:
        llm = self._recipe.llm
        others = llm.guard.model or llm.judge.model or llm.responses.candidates > 1
        if llm.model != thumb.PUBLISHED_TEXT_MODEL or others:
            return None
        few, many = thumb.PUBLISHED_REQUESTS
        # What it took for a text it kept was spread over all that it wrote.
        each = [
            thumb.requests(part).times(hours / many, hours / few)
            for part in self._parts
            if (hours := thumb.PUBLISHED_HOURS.get(part.kind))
        ]
        return total(each)

    def _published_clips(self) -> Range | None:
        if self._recipe.speech.model != thumb.PUBLISHED_VOICE:
            return None
        fast = self._clips.seconds.low / thumb.FASTEST_SOUND / 3600
        slow = self._clips.requests.high * thumb.PUBLISHED_CLIP_HOURS
        return Range(min(fast, slow), slow)

    def _cost_of(self, section: str) -> Range | None:
        hours, price = self._hours[section], self._of(section).gpu_hour_price
        if hours == NOTHING:
            return NOTHING
        return hours.times(price) if hours and price else None

    def _wall_of(self, section: str) -> Range | None:
        seconds, hours, gpus = self._seconds[section], self._hours[section], self._of(section).gpus
        if seconds:
            return seconds
        if section == "speech" and not self._served[section]:
            processes = min(self._recipe.speech.concurrency, os.cpu_count() or 1)
            rate = thumb.BUILTIN_SOUND * processes
            return self._clips.seconds.times(1 / rate, thumb.SLOWER_CORES / rate)
        return hours.times(3600 / gpus) if hours and hours != NOTHING and gpus else None

    def _bytes_a_second(self) -> Range:
        """Of the run's clips on file, some of them; else by the rule of thumb."""
        size, seconds = 0, 0.0
        made = (t for part in self._parts for t in part.tried if t.full and t.clip)
        here = (t for t in made if t.clip in self._store.clips)
        for tried in islice(here, CLIPS_READ):
            seconds += tried.seconds
            size += len(self._store.clips.read(tried.clip))
        if not seconds:
            return thumb.BYTES_A_SECOND
        return Range(size / seconds, size / seconds)


def _all(ranges: Iterable[Range | None]) -> Range | None:
    """The sum, if all are known."""
    known = list(ranges)
    return total([one for one in known if one]) if all(known) else None
