"""What refuses a clip: the registry of its rules, asked in this order.

Limits hold for genuine voices as well as for the builtin one: 971 clips that others published were
measured, and `benchmarks/real_voices.py` says how many of each kind every rule refuses. Verdicts
follow from stored measures. So a rule that is tightened has a voice speak again only for the clips
that now break it; one that is loosened leaves what was accepted, and keeps from the store what it
refused before.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from corpus.plan.rules import Rule, Rules, Verdict
from corpus.sound.clip_audio import FLOOR_DBFS, WHOLE_CODES, ClipMeasures
from corpus.sound.speaker_likeness import OTHER_SPEAKER
from schemas.audio import SAMPLE_RATE
from schemas.recipe import RuleSetting

KEY = "speech.rules"

MIN_LEVEL_RANGE_DB = 12.0
"""Speech swings over 30 dB between vowels and closures, in the flattest genuine clip 13; steady
noise, hum and tones stay in 5."""
MIN_SMOOTHNESS = 0.20
"""Correlation of neighbouring samples: 0.34 in the hissiest genuine clip, 0.45 in the builtin
voice's brightest style, 0.9 in plain speech, 0 in white noise."""
MAX_SECONDS_PER_WORD, SPARE_SECONDS = 1.1, 2.0
"""Half as much again as 95 % of genuine clips take (0.67), which leaves room for slow, sad styles
and for abbreviations; the spare seconds are for clips of few, long words."""
MAX_GAP_SECONDS = 2.0
"""The longest pause in a good genuine clip is 1.5, three times the builtin voice's slowest."""


@dataclass(frozen=True, slots=True)
class HeardClip:
    """What the rules judge.

    Attributes:
        measures: of the clip.
        words: how many the text has.
        word_error: share of them that a recogniser heard otherwise; None if none listened.
        other_speaker: how much more it resembles another speaker of the cast than its own, as a
            difference of cosines (below 0: less); None if it was not compared.
    """

    measures: ClipMeasures
    words: int
    word_error: float | None = None
    other_speaker: float | None = None


def _swing(clip: HeardClip) -> float:
    found = clip.measures
    return min(found.level_range / MIN_LEVEL_RANGE_DB, found.smoothness / MIN_SMOOTHNESS)


def _seconds_per_word(clip: HeardClip, spare: float = 0.0) -> float:
    return (clip.measures.speech_seconds - spare) / max(clip.words, 1)


CLIP_RULES: tuple[Rule[HeardClip], ...] = (
    Rule(
        "undecodable",
        lambda clip: clip.measures.problem is not None,
        "The bytes are no whole sound file. There is nothing to keep, so the rule stands as it is.",
        fixed=True,
    ),
    Rule(
        "lossy_code",
        lambda clip: clip.measures.coding not in WHOLE_CODES,
        "It has been through a lossy or coarse code (MP3, Ogg, mu-law, 8 bits), which is heard in "
        "what is trained on it; ask the server for WAV or FLAC.",
    ),
    Rule(
        "wrong_rate",
        lambda clip: clip.measures.sample_rate != SAMPLE_RATE,
        "It is not at 24 kHz; where this is turned off, it is resampled.",
    ),
    Rule(
        "not_mono",
        lambda clip: clip.measures.channels != 1,
        "It has several channels; where this is turned off, their mean is kept.",
    ),
    Rule(
        "not_finite",
        lambda clip: not clip.measures.finite,
        "A sample is infinite or not a number. This rule, too, stands as it is.",
        fixed=True,
    ),
    Rule(
        "empty",
        lambda clip: clip.measures.seconds,
        "It is shorter than any spoken word.",
        0.10,
        least=True,
        unit="s",
    ),
    Rule(
        "silent",
        lambda clip: clip.measures.level,
        "Its frames with sound are too quiet to be heard; the quietest genuine clip is at -39, the "
        "builtin voice's quietest style at -30.",
        -50.0,
        least=True,
        unit="dBFS",
    ),
    Rule(
        "clipped",
        lambda clip: clip.measures.clipped_share,
        "It has too large a share of samples at full scale. A lone peak that touches it is "
        "inaudible, a flattened wave has hundreds; loud clones have up to 0.000165.",
        5e-4,
    ),
    Rule(
        "noise",
        _swing,
        f"It swings too little between loud and soft ({MIN_LEVEL_RANGE_DB:g} dB are asked for), or "
        f"from sample to sample too much (a correlation of {MIN_SMOOTHNESS:g} is): the smaller of "
        "both, each as a share of what is asked for. Steady noise, hum and tones break it.",
        1.0,
        least=True,
    ),
    Rule(
        "too_slow",
        lambda clip: _seconds_per_word(clip, SPARE_SECONDS),
        f"It takes too many seconds a word, from the first sound to the last, {SPARE_SECONDS:g} "
        "seconds spared. Speech that runs away is several times longer.",
        MAX_SECONDS_PER_WORD,
        unit="s",
    ),
    Rule(
        "long_gap",
        lambda clip: clip.measures.longest_gap,
        "It has a silence within it that is so long that something is missing.",
        MAX_GAP_SECONDS,
        unit="s",
    ),
    Rule(
        "mostly_silent",
        lambda clip: clip.measures.silence_share,
        "Too large a share of it is silent, from the first sound to the last: 0.1 to 0.3 is usual, "
        "genuine clips have 0.33 at most, five sentences of one word each 0.48.",
        0.60,
    ),
    Rule(
        "too_fast",
        _seconds_per_word,
        "It takes too few seconds a word. Genuine clips take 0.20 at least; the builtin voice's "
        "fastest style takes 0.16 over usual sentences and 0.125 over two-letter words.",
        0.10,
        least=True,
        unit="s",
    ),
    Rule(
        "cut_off",
        lambda clip: FLOOR_DBFS if clip.measures.ended else clip.measures.tail,
        "Its last 10 ms are too loud beside the rest: what ends by itself has died away, what was "
        "cut in a word still sounds. (A cut that falls into a pause is not heard here; the word "
        "error check hears it.) Not asked where the server says that the voice came to its end.",
        -20.0,
        unit="dB",
    ),
    Rule(
        "misheard",
        lambda clip: clip.word_error or 0.0,
        "A recogniser hears too large a share of the words otherwise, where speech.asr_check has "
        "one listen. 95 % of the builtin voice's clips stay well below, whatever the style; one "
        "word in four is where a listener loses the sentence.",
        0.25,
    ),
    Rule(
        OTHER_SPEAKER,
        lambda clip: -1.0 if clip.other_speaker is None else clip.other_speaker,
        "It resembles another speaker of the cast more than the one it is of, by a difference of "
        "cosines between the speakers' reference clips (`corpus.sound.speaker_likeness`). Asked "
        "where a recipe casts two speakers or more. Of 384 clips of the builtin voice none is "
        "beyond 0.114, whatever the delivery; two in three clips of a wrong speaker are beyond "
        "0.15 (`benchmarks/speakers.py`).",
        0.15,
    ),
)


def clip_rules(settings: Mapping[str, RuleSetting]) -> Rules[HeardClip]:
    """The rules as a recipe has them, by its `speech.rules`.

    Raises:
        InvalidInput: there is no such rule, or it cannot be set so.
    """
    return Rules(CLIP_RULES, settings, KEY)


def judge(rules: Rules[HeardClip], clip: HeardClip) -> Verdict:
    """The first rule that a clip breaks; what its server called it, if that sent none."""
    refusal = clip.measures.refusal
    return Verdict(refusal) if refusal else rules.judge(clip)
