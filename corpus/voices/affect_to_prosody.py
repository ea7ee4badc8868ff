"""The affect mapping: how a point of the valence-arousal plane is spoken.

`delivery` is the whole of what a point means: one continuous mapping, so any point of the plane,
and so any new anchor, has a delivery without a line of code.
"""

import math
from dataclasses import dataclass

from corpus.errors import InvalidInput


@dataclass(frozen=True)
class Delivery:
    """How a point of the plane sounds; (0, 0) is the network's plain reading, evenly levelled.

    Attributes:
        rate: Speed relative to the plain reading.
        semitones: Shift of the mean pitch.
        pitch_range: Factor on the pitch's movement around its mean, in log frequency.
        tilt: Spectral tilt, dB per octave around 1 kHz; positive is brighter.
        level: RMS over the frames that hold speech, dBFS.
        breathiness: How far aperiodicity is raised towards whisper, 0 (not at all) to 1.
    """

    rate: float
    semitones: float
    pitch_range: float
    tilt: float
    level: float
    breathiness: float


def delivery(valence: float, arousal: float) -> Delivery:
    """What a point of the valence-arousal plane sounds like.

    Every quantity is linear in the two coordinates, factors in their logarithm. Arousal leads
    everywhere: aroused speech is faster, higher, wider in pitch, brighter, louder and pressed; low
    arousal is its mirror image, and breathy. Valence moves pitch and its range, so that of two
    equally aroused points the pleasant one lies higher, and makes displeasure harder and a little
    louder. The sizes are tuned so that arousal can be read from every feature across different
    sentences while a speech recogniser still hears the words (`benchmarks/speech_run.py`).

    Args:
        valence: -1 (unpleasant) to 1 (pleasant).
        arousal: -1 (calm) to 1 (aroused).

    Raises:
        InvalidInput: If a coordinate is outside [-1, 1] or not a number.
    """
    for name, value in (("valence", valence), ("arousal", arousal)):
        if not -1.0 <= value <= 1.0:
            raise InvalidInput(f"{name} {value} is outside [-1, 1]")
    return Delivery(
        rate=math.exp(0.38 * arousal),
        semitones=3.8 * arousal + 2.4 * valence,
        pitch_range=math.exp(0.70 * arousal + 0.12 * valence),
        tilt=1.8 * arousal - 0.3 * valence,
        level=-23.0 + 6.0 * arousal - 0.8 * valence,
        breathiness=0.15 - 0.15 * arousal,
    )


def style_loudness(plain: float, valence: float, arousal: float) -> float:
    """The loudness of a finished clip, LUFS, where `plain` is that of a plain delivery.

    It is as far from it as the builtin voice's levels are: one mapping for every voice, so that
    styles keep their order and distances whatever level a served voice chooses of its own accord.

    Raises:
        InvalidInput: If a coordinate is outside [-1, 1] or not a number.
    """
    return plain + delivery(valence, arousal).level - delivery(0.0, 0.0).level
