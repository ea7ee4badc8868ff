"""One clip: decoded, measured, finished and encoded.

Measures are taken once and stored; verdicts are computed from them
(`corpus.sound.clip_rejection_rules`). So a rule can change without decoding a clip again, and every
voice, builtin or served, is judged alike. What refuses a clip has no say in whether it is finished:
every clip that decodes to finite sound is, so a rule that is loosened later keeps it as it lies in
the store. (Releases up to 0.2.0 stored the measures alone of clips that were silent, clipped or
noise, or of another rate or number of channels; a loosened rule has those made again by the voice.)

A finished clip is at 24 kHz, has silence of a set margin at both ends, where it is faded so that
nothing clicks, and is brought to the loudness of its style. That loudness follows from the slot's
point of the valence-arousal plane alone: not from the clip, since a model's level may wander from
clip to clip and one level for all would make a whisper of sorrow as loud as a shout of joy; and not
from the other clips, since then a new emotion would change what is on file.
(`corpus.voices.affect_to_prosody.style_loudness` says which; `benchmarks/speech_run.py` how much of
the styles is left, `benchmarks/real_voices.py` how many genuine clips can be as loud as they
should.)
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyloudnorm
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from corpus.errors import SympatheiaError
from schemas.audio import SAMPLE_RATE

FRAME_SECONDS = 0.010
SILENT_BELOW_PEAK_DB = 45.0
"""A frame this far below the clip's loud frames is silence: under soft consonants, over the noise
that codecs and vocoders leave in pauses."""
FLOOR_DBFS = -120.0
"""Level written for digital silence; also keeps the measures finite."""
FULL_SCALE = 0.999
"""A sample from here on counts as clipped; the last 33 steps of 16 bits."""
TAIL_SECONDS = 0.010
"""Genuine speech often falls to silence in its very last 10 ms: over 20 ms, three times as many
good clips look cut (`benchmarks/real_voices.py`)."""

WHOLE_CODES = ("", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
"""Subtypes of libsndfile's that keep what 16 bits hold; "" where samples came without a file. Any
other, such as MP3, Vorbis, mu-law or 8 bits, is heard in what is trained on the corpus."""
UNKNOWN_BYTES = 2**28
"""A WAV header that promises as much, 90 minutes of the corpus's format, was written before the
length was known, whatever number the server put there."""
MAX_OFFSET = 10 ** (-60 / 20)
"""Mean of the samples from which on it is taken away: -60 dBFS, far below what a margin of silence
has by itself; the builtin voice stays below 2e-5, and most models at about nothing."""
MARGIN_SECONDS = 0.10
"""Silence before the first sound and after the last: enough for soft onsets to be whole, and for a
model that is trained on the clips to learn where to stop. Digital silence where a voice leaves
less, as four of five genuine clips do at their end."""
FADE_SECONDS = 0.005
"""Over which the ends rise and fall: short beside any consonant, long enough not to click."""
LOUDNESS_BLOCK_SECONDS = 0.4
"""Gating block of ITU-R BS.1770; a shorter clip is one block."""
HIGHEST_PEAK = 10 ** (-1 / 20)
"""Headroom of 1 dB under full scale, as EBU R 128 asks for; a clip that would reach beyond stays
quieter than its style's loudness."""
RATES = range(4_000, 384_001)
"""Hz; a file that claims another rate is damaged, and resampling it could take all memory."""

Samples = NDArray[np.float32]


class Undecodable(SympatheiaError, ValueError):
    """Bytes that are not a whole sound file; the message says why."""


@dataclass(frozen=True)
class ClipMeasures:
    """What is measured of one clip; plain numbers, so `dataclasses.asdict` goes into JSON.

    Channels are averaged before anything but `channels` is measured. Every level is finite. All is
    measured on the clip as it came, but for `finished_seconds` and `loudness`.

    Attributes:
        problem: Why the bytes could not be decoded; None if they could. All else is 0 then.
        refusal: What the server that made it called it instead of sending it.
        coding: How the samples were written, in libsndfile's word; empty if in no file.
        sample_rate: Hz.
        channels: Number of channels.
        seconds: Duration.
        finite: False if a sample is infinite or not a number; such samples count as 0 below.
        peak: Largest absolute sample, 1.0 is full scale.
        clipped_share: Share of samples at full scale.
        level: RMS over the frames that are not silent, dBFS.
        level_range: From the 10th to the 95th percentile of frame levels, dB.
        smoothness: Correlation of neighbouring samples, -1 to 1.
        silence_share: Share of the frames from the first sound to the last that are silent.
        leading_silence: Seconds before the first frame that is not silent.
        trailing_silence: Seconds after the last.
        longest_gap: Longest silence between them, seconds.
        tail: Level of the last 10 ms relative to `level`, dB; of the last 20 ms in clips that
            were measured by 0.2.0 and before.
        finished_seconds: Duration of the finished clip; 0 if it was not finished.
        loudness: Integrated loudness of the finished clip by ITU-R BS.1770, LUFS.
        ended: Whether its server says that the voice came to its end by itself.
    """

    problem: str | None = None
    refusal: str | None = None
    coding: str = ""
    sample_rate: int = 0
    channels: int = 0
    seconds: float = 0.0
    finite: bool = True
    peak: float = 0.0
    clipped_share: float = 0.0
    level: float = FLOOR_DBFS
    level_range: float = 0.0
    smoothness: float = 0.0
    silence_share: float = 1.0
    leading_silence: float = 0.0
    trailing_silence: float = 0.0
    longest_gap: float = 0.0
    tail: float = FLOOR_DBFS
    finished_seconds: float = 0.0
    loudness: float = FLOOR_DBFS
    ended: bool = False

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "ClipMeasures":
        """The measures in a record; those that it has not are as above."""
        return cls(
            **{field.name: record[field.name] for field in fields(cls) if field.name in record}
        )

    @property
    def speech_seconds(self) -> float:
        """From the first sound to the last."""
        return self.seconds - self.leading_silence - self.trailing_silence


def encode_flac(samples: Samples, rate: int = SAMPLE_RATE) -> bytes:
    """Mono samples (samples,) within -1 and 1 as 16-bit FLAC, at the corpus's 24 kHz by default."""
    return _encoded(samples, "FLAC", rate)


def encode_wav(samples: Samples, rate: int = SAMPLE_RATE) -> bytes:
    """Mono samples (samples,) within -1 and 1 as 16-bit WAV, at the corpus's 24 kHz by default."""
    return _encoded(samples, "WAV", rate)


def seconds_of(data: bytes) -> float:
    """How long a sound file lasts, by its header."""
    info = soundfile.info(io.BytesIO(data))
    return float(info.frames / info.samplerate)


def recode(data: bytes, container: str) -> tuple[bytes, int, int, int]:
    """A 16-bit clip in another container ("FLAC", "WAV"), sample for sample the same.

    Returns:
        The new bytes, the number of frames, the rate in Hz and the number of channels.

    Raises:
        Undecodable: If the bytes are no sound file.
    """
    try:
        steps, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
    except (soundfile.LibsndfileError, TypeError) as error:
        raise Undecodable(f"The clip cannot be decoded: {error}") from error
    file = io.BytesIO()
    soundfile.write(file, steps, rate, format=container, subtype="PCM_16")
    return file.getvalue(), len(steps), int(rate), steps.shape[1]


def _encoded(samples: Samples, container: str, rate: int) -> bytes:
    if samples.ndim != 1 or not np.all(np.abs(samples) <= 1.0):
        raise ValueError("A clip is encoded from mono, finite samples within -1 and 1.")
    # Rounded here, so that the bytes do not hang on how a library version converts floats.
    steps = np.rint(samples.astype(np.float64) * 32767.0).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, steps, rate, format=container, subtype="PCM_16")
    return file.getvalue()


def decode(data: bytes) -> tuple[Samples, int]:
    """The samples (samples, channels) and the rate in Hz of a FLAC, WAV or Ogg file.

    Raises:
        Undecodable: If the bytes are no sound file, or only the beginning of one.
    """
    samples, rate, _ = _decoded(data)
    return samples, rate


def promised(data: bytes) -> tuple[float, int]:
    """The seconds and the rate in Hz that a sound file says it has; nothing of it is decoded.

    Raises:
        Undecodable: If the bytes are no sound file.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            return file.frames / file.samplerate, int(file.samplerate)
    except (soundfile.LibsndfileError, TypeError) as error:
        raise Undecodable(f"The clip cannot be decoded: {error}") from error


def _decoded(data: bytes) -> tuple[Samples, int, str]:
    """What `decode` gives, and how the samples were written."""
    try:
        with soundfile.SoundFile(io.BytesIO(_with_true_sizes(data))) as file:
            samples: Samples = file.read(dtype="float32", always_2d=True)
            promised, rate, coding = file.frames, int(file.samplerate), str(file.subtype)
    except (soundfile.LibsndfileError, TypeError) as error:
        raise Undecodable(f"The clip cannot be decoded: {error}") from error
    if len(samples) < promised:
        raise Undecodable(_TRUNCATED)
    return samples, rate, coding


_TRUNCATED = "The clip is truncated: its header promises more sound than it has."


def _with_true_sizes(data: bytes) -> bytes:
    """A WAV file with the sizes that it has, where its header was written before they were known.

    Raises:
        Undecodable: it ends before its header says; the library reads it without complaint.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return data
    at = 12
    while data[at : at + 4] != b"data":
        if at + 8 > len(data):
            return data  # no sound at all, which the library says better
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        at += at % 2
    told = int.from_bytes(data[at + 4 : at + 8], "little")
    left = len(data) - at - 8
    whole = int.from_bytes(data[4:8], "little") == len(data) - 8
    size = left if told >= UNKNOWN_BYTES or (told == 0 and not whole) else told
    if size > left:
        raise Undecodable(_TRUNCATED)
    sizes = (len(data) - 8).to_bytes(4, "little"), size.to_bytes(4, "little")
    return data[:4] + sizes[0] + data[8 : at + 4] + sizes[1] + data[at + 8 :]


def measure(data: bytes) -> ClipMeasures:
    """Decodes a clip and measures it."""
    try:
        samples, rate, coding = _decoded(data)
    except Undecodable as error:
        return ClipMeasures(problem=str(error))
    return _centred(samples, rate, coding)[1]


def finish(data: bytes, loudness: float) -> tuple[bytes | None, ClipMeasures]:
    """A clip as a voice gave it, measured and, if it can be, finished.

    Args:
        data: FLAC, WAV or Ogg.
        loudness: The integrated loudness to bring it to, LUFS.

    Returns:
        The finished clip as FLAC, None for one that has no finite sound; the measures.
    """
    try:
        samples, rate, coding = _decoded(data)
    except Undecodable as error:
        return None, ClipMeasures(problem=str(error))
    return finish_samples(samples, rate, loudness, coding)


def finish_samples(
    samples: Samples, rate: int, loudness: float, coding: str = ""
) -> tuple[bytes | None, ClipMeasures]:
    """`finish` for samples (samples, channels) at a rate in Hz."""
    if rate not in RATES:
        return None, ClipMeasures(problem=f"The clip claims to have {rate} samples a second.")
    samples, measures = _centred(samples, rate, coding)
    if not measures.finite:
        return None, measures
    sound = samples.mean(axis=1, dtype=np.float64)
    if rate != SAMPLE_RATE:
        sound = resample_poly(sound, SAMPLE_RATE, rate)
    sound = _with_margins(sound, measures)
    found = _loudness(sound)
    if not math.isfinite(found):  # all of it under the gate of -70 LUFS
        found = measures.level
    peak = float(np.abs(sound).max())
    gain = min(10 ** ((loudness - found) / 20), HIGHEST_PEAK / peak) if peak else 1.0
    return encode_flac((sound * gain).astype(np.float32)), replace(
        measures,
        finished_seconds=len(sound) / SAMPLE_RATE,
        loudness=found + 20 * math.log10(gain),
    )


def _with_margins(sound: NDArray[np.float64], measures: ClipMeasures) -> NDArray[np.float64]:
    """Sound (samples,) from a margin before its first frame with sound to one after its last.

    What it had of the margins stays, faded at its ends; zeros are what is missing.
    """
    margin, fade = round(MARGIN_SECONDS * SAMPLE_RATE), round(FADE_SECONDS * SAMPLE_RATE)
    first = min(round(measures.leading_silence * SAMPLE_RATE), len(sound))
    last = max(first, len(sound) - round(measures.trailing_silence * SAMPLE_RATE))
    kept = sound[max(0, first - margin) : last + margin].copy()
    rise = np.linspace(0.0, 1.0, min(fade, len(kept)))
    kept[: len(rise)] *= rise
    kept[len(kept) - len(rise) :] *= rise[::-1]
    before = max(0, margin - first)
    after = max(0, margin - (len(sound) - last))
    return np.pad(kept, (before, after))


def _centred(samples: Samples, rate: int, coding: str) -> tuple[Samples, ClipMeasures]:
    """Samples around zero, and what is measured of them."""
    measures = replace(_measured(samples, rate), coding=coding)
    offset = samples.mean(axis=0, dtype=np.float64) if len(samples) else np.zeros(1)
    if not measures.finite or (np.abs(offset) <= MAX_OFFSET).all():
        return samples, measures
    # The mean of loud, clipped speech lies off zero too, but there silence lies at zero.
    frame = max(1, min(len(samples), round(rate * FRAME_SECONDS)))
    whole = samples[: len(samples) // frame * frame].reshape(-1, frame, samples.shape[1])
    rest = whole[whole.var(axis=1).sum(axis=1).argmin()].mean(axis=0, dtype=np.float64)
    if (np.abs(rest - offset) > np.abs(offset) / 2).any():
        return samples, measures
    centred = (samples - offset).astype(np.float32)
    # What was flattened at full scale is still flat, and no longer there.
    clipped = measures.clipped_share
    return centred, replace(_measured(centred, rate), coding=coding, clipped_share=clipped)


def measure_finished(data: bytes) -> ClipMeasures:
    """Decodes and measures a clip that is finished already, its loudness included."""
    try:
        samples, rate = decode(data)
    except Undecodable as error:
        return ClipMeasures(problem=str(error))
    measures = _measured(samples, rate)
    if measures.seconds == 0.0 or not measures.finite:
        return measures
    loudness = max(_loudness(samples.mean(axis=1, dtype=np.float64), rate), FLOOR_DBFS)
    return replace(measures, finished_seconds=measures.seconds, loudness=loudness)


def _loudness(sound: NDArray[np.float64], rate: int = SAMPLE_RATE) -> float:
    block = min(LOUDNESS_BLOCK_SECONDS, len(sound) / rate)
    return float(pyloudnorm.Meter(rate, block_size=block).integrated_loudness(sound))


def _measured(samples: Samples, rate: int) -> ClipMeasures:
    channels = samples.shape[1]
    sound = samples[:, 0] if channels == 1 else samples.mean(axis=1)
    finite = bool(np.isfinite(sound).all())
    if not finite:
        sound = np.nan_to_num(sound, nan=0.0, posinf=0.0, neginf=0.0)
    size = np.abs(sound)
    frame = max(1, round(rate * FRAME_SECONDS))
    whole = sound[: len(sound) // frame * frame].reshape(-1, frame)
    if len(whole) == 0:
        return ClipMeasures(
            sample_rate=rate, channels=channels, seconds=len(sound) / rate, finite=finite
        )
    power = np.einsum("ij,ij->i", whole, whole) / frame
    low, high = np.percentile(power, (10, 95))
    loud = np.flatnonzero(power > max(high * 10 ** (-SILENT_BELOW_PEAK_DB / 10), 1e-12))
    level = _decibels(float(power[loud].mean())) if loud.size else FLOOR_DBFS
    first, last = (loud[0], loud[-1]) if loud.size else (len(power), len(power) - 1)
    gap = int(np.diff(loud).max()) - 1 if loud.size > 1 else 0
    energy = float(np.dot(sound, sound))
    tail = sound[-max(1, round(rate * TAIL_SECONDS)) :]
    return ClipMeasures(
        sample_rate=rate,
        channels=channels,
        seconds=len(sound) / rate,
        finite=finite,
        peak=float(size.max()),
        clipped_share=float(np.count_nonzero(size >= FULL_SCALE)) / len(size),
        level=level,
        level_range=_decibels(float(high)) - _decibels(float(low)),
        smoothness=float(np.dot(sound[:-1], sound[1:])) / energy if energy > 0 else 0.0,
        silence_share=float(1.0 - loud.size / (last + 1 - first)) if loud.size else 1.0,
        leading_silence=float(first * FRAME_SECONDS),
        trailing_silence=float((len(power) - 1 - last) * FRAME_SECONDS),
        longest_gap=gap * FRAME_SECONDS,
        tail=_decibels(float(np.dot(tail, tail)) / len(tail)) - level,
    )


def _decibels(power: float) -> float:
    """Mean square to dBFS, at least `FLOOR_DBFS`."""
    return max(10.0 * math.log10(power), FLOOR_DBFS) if power > 0.0 else FLOOR_DBFS
