"""How the clip rules and the loudness of styles fare with genuine voices.

`real_voices.csv` beside this file has what was measured of 476 clips that others published, in
groups: `qwen` is Qwen3-TTS that ended by itself (from ten sources, in ten languages), `qwen-capped`
was stopped by the token limit, `qwen-dev` came of broken ports; `other` is fifteen further systems;
`human` is read speech, `human-cut2s` recordings that were cut at two seconds; `tones` are beeps.
The sound itself is not kept. Levels are in dB, `tail_20ms` and `tail_10ms` those of the last 20 and
10 ms beside that of the speech; `tail_curve` has the last twelve frames of 10 ms.

    .venv/bin/python -m benchmarks.real_voices

prints and writes `real_voices.json`, in a second: by group and rule the share refused under the
limits in force (`corpus.sound.clip_rejection_rules`); the share that the peak limit keeps quieter
than the loudest style asks for; and Spearman's rank correlation of arousal with the energy that is
left, were each clip spoken in one of the bundled anchors' styles.
"""

import csv
import json
import math
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from scipy.stats import spearmanr

from corpus.plan.prompt_files import BUNDLED, load_prompts
from corpus.sound.clip_audio import FLOOR_DBFS, HIGHEST_PEAK, ClipMeasures
from corpus.sound.clip_rejection_rules import HeardClip, clip_rules, judge
from corpus.voices.affect_to_prosody import style_loudness
from schemas.audio import SAMPLE_RATE
from schemas.prompts import Point
from schemas.recipe import Speech

MEASURED = Path(__file__).with_suffix(".csv")
RESULT = Path(__file__).with_suffix(".json")

LOUDNESS = float(Speech.model_fields["loudness"].default)
EARLIER_LOUDNESS = -23.0
"""The default of 0.2.0, for comparison."""
LOUDEST = Point(valence=-1.0, arousal=1.0)
"""Of all points of the plane, whether or not an anchor is there."""
DRAWS = 50
"""Ways in which the anchors' styles are dealt to the clips."""


@dataclass(frozen=True, slots=True)
class RealClip:
    """A genuine clip; `words` is None where its text is not known."""

    group: str
    words: int | None
    measures: ClipMeasures
    loudness: float

    @property
    def loudest(self) -> float:
        """How loud it can be with its peaks under the limit, LUFS."""
        return self.loudness + 20 * math.log10(HIGHEST_PEAK / (self.measures.peak or HIGHEST_PEAK))


def real_clips(path: Path = MEASURED) -> list[RealClip]:
    """Every clip of the table."""
    taken = {field.name for field in fields(ClipMeasures)} - {"loudness"}
    clips = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            found = {name: float(value) for name, value in row.items() if name in taken}
            # One file has no sound.
            tail, loudness = (float(row[name] or FLOOR_DBFS) for name in ("tail_10ms", "loudness"))
            measures = ClipMeasures(sample_rate=SAMPLE_RATE, channels=1, tail=tail, **found)
            words = int(row["words"]) if row["words"] else None
            clips.append(RealClip(row["group"], words, measures, loudness))
    return clips


def reason(clip: RealClip) -> str | None:
    """The rule that refuses a clip; what a word takes is not asked where there is no text."""
    off = {} if clip.words else {"too_slow": False, "too_fast": False}
    return judge(clip_rules(off), HeardClip(clip.measures, clip.words or 1)).reason


def refused(clips: Sequence[RealClip]) -> dict[str, float]:
    """The share of some clips that each rule refuses."""
    reasons = Counter(reason(clip) for clip in clips)
    return {rule: round(count / len(clips), 4) for rule, count in reasons.most_common() if rule}


def too_quiet(clips: Iterable[RealClip], plain: float) -> float:
    """The share of clips that cannot be as loud as the loudest style, LUFS, where plain is so."""
    target = style_loudness(plain, LOUDEST.valence, LOUDEST.arousal)
    return round(statistics.fmean(clip.loudest < target for clip in clips), 4)


def arousal_in_energy(
    clips: Sequence[RealClip], plain: float, points: Sequence[Point]
) -> dict[str, float]:
    """Spearman's rank correlation of arousal with the level of the finished clips' speech.

    Args:
        clips: each is spoken at one of the points, dealt out anew so many times.
        plain: the loudness of a plain delivery, LUFS.
        points: of the styles.

    Returns:
        The mean over all points, and over those of the louder half; and the same were there no
        limit to the peaks.
    """
    rng = random.Random(0)
    louder = sorted(points, key=lambda point: style_loudness(plain, *_both(point)))
    louder = louder[len(points) // 2 :]
    found = {
        name: statistics.fmean(
            _correlation(rng.sample(clips, len(clips)), plain, some, limited=limited)
            for _ in range(DRAWS)
        )
        for name, some, limited in (
            ("all", points, True),
            ("all_without_peak_limit", points, False),
            ("louder_half", louder, True),
            ("louder_half_without_peak_limit", louder, False),
        )
    }
    return {name: round(rho, 3) for name, rho in found.items()}


def _both(point: Point) -> tuple[float, float]:
    return point.valence, point.arousal


def _correlation(
    clips: Sequence[RealClip], plain: float, points: Sequence[Point], *, limited: bool
) -> float:
    arousal, energy = [], []
    for n, clip in enumerate(clips):
        point = points[n % len(points)]
        target = style_loudness(plain, *_both(point))
        reached = min(target, clip.loudest) if limited else target
        arousal.append(point.arousal)
        energy.append(clip.measures.level + reached - clip.loudness)
    return float(spearmanr(arousal, energy).statistic)


def anchor_points() -> list[Point]:
    """Where the bundled anchors' queries are delivered."""
    return [anchor.point for anchor in load_prompts(BUNDLED, "full").anchor_file.anchors]


def figures() -> dict[str, object]:
    """All of it."""
    clips = real_clips()
    groups = sorted({clip.group for clip in clips})
    by_group = {name: [clip for clip in clips if clip.group == name] for name in groups}
    points = anchor_points()
    levels = {"default": LOUDNESS, "0.2.0": EARLIER_LOUDNESS}
    return {
        "clips": {name: len(some) for name, some in by_group.items()},
        "refused": {name: refused(some) for name, some in by_group.items()},
        "loudness": levels,
        "quieter_than_the_loudest_style": {
            name: {level: too_quiet(some, plain) for level, plain in levels.items()}
            for name, some in by_group.items()
        },
        "arousal_in_energy_of_qwen": {
            level: arousal_in_energy(by_group["qwen"], plain, points)
            for level, plain in levels.items()
        },
    }


def main() -> None:
    """Computes, prints and writes the figures."""
    text = json.dumps(figures(), indent=2)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
