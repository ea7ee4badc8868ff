"""Files of sound as they come from voices and from disks: read whole, or refused in words."""

import io
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from corpus.errors import SympatheiaError

HEARING_RATE = 16_000
"""Hz; what the recogniser of speech and DNSMOS were trained on."""
RATES = range(4_000, 384_001)
"""Hz; a file that claims another rate is damaged, and resampling it could take all memory."""

UNKNOWN_BYTES = 2**28
"""A WAV header that promises as much, 90 minutes of the corpus's format, was written before the
length was known, whatever number the server put there."""
FRAMES_AT_ONCE = 1 << 16
"""Frames for which there is room while a file is read: its header may promise any number."""
MOST_SAMPLES = 100_000_000
"""In a clip, of all channels: half an hour at 48 kHz, where a text takes a minute or two."""

Samples = NDArray[np.float32]


class Undecodable(SympatheiaError, ValueError):
    """Bytes that are not a whole sound file; the message says why."""


def decode(data: bytes) -> tuple[Samples, int]:
    """The samples (samples, channels) and the rate in Hz of a FLAC, WAV or Ogg file.

    Raises:
        Undecodable: If the bytes are no sound file, or only the beginning of one.
    """
    samples, rate, _ = decoded(data)
    return samples, rate


def promised(data: bytes) -> tuple[float, int]:
    """The seconds and the rate in Hz that a sound file says it has; nothing of it is decoded.

    Raises:
        Undecodable: If the bytes are no sound file.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(_with_true_sizes(data))) as file:
            return file.frames / file.samplerate, int(file.samplerate)
    except (soundfile.LibsndfileError, TypeError) as error:
        raise Undecodable(f"The clip cannot be decoded: {_said(error)}") from error


def samples_for_hearing(clip: bytes) -> Samples:
    """The samples (samples,) of a clip at `HEARING_RATE`, as `samples_at`."""
    return samples_at(clip, HEARING_RATE)


def samples_at(clip: bytes, rate: int) -> Samples:
    """The samples (samples,) of a sound file at a rate in Hz; of several channels their mean.

    Raises:
        Undecodable: If the bytes are no sound file, or only the beginning of one.
    """
    samples, given = decode(clip)
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    resampled: Samples = resample_poly(mono, rate, given) if given != rate else mono
    return resampled


def decoded(data: bytes) -> tuple[Samples, int, str]:
    """What `decode` gives, and how the samples were written."""
    try:
        with soundfile.SoundFile(io.BytesIO(_with_true_sizes(data))) as file:
            samples: Samples = read_all(file)
            promised, rate, coding = file.frames, int(file.samplerate), str(file.subtype)
    except (soundfile.LibsndfileError, TypeError) as error:
        raise Undecodable(f"The clip cannot be decoded: {_said(error)}") from error
    if len(samples) < promised:
        raise Undecodable(_TRUNCATED)
    if rate not in RATES:
        raise Undecodable(f"The clip claims to have {rate} samples a second.")
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


def recode(data: bytes, container: str) -> tuple[bytes, int, int, int]:
    """A 16-bit clip in another container ("FLAC", "WAV"), sample for sample the same.

    Returns:
        The new bytes, the number of frames, the rate in Hz and the number of channels.

    Raises:
        Undecodable: If the bytes are no sound file.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            steps, rate = read_all(file, "int16"), int(file.samplerate)
    except (soundfile.LibsndfileError, TypeError) as error:
        raise Undecodable(f"The clip cannot be decoded: {_said(error)}") from error
    written = io.BytesIO()
    try:
        soundfile.write(written, steps, rate, format=container, subtype="PCM_16")
    except soundfile.LibsndfileError as error:
        raise Undecodable(
            f"The clip is no sound that {container} could hold: {_said(error)}"
        ) from error
    return written.getvalue(), len(steps), rate, steps.shape[1]


def _said(error: Exception) -> str:
    """What the library says of a file, without how it calls what was opened."""
    return str(getattr(error, "error_string", error))


def read_all(file: soundfile.SoundFile, dtype: str = "float32") -> NDArray[Any]:
    """The samples (samples, channels) that a file has, whatever its header promises.

    Raises:
        Undecodable: If there are too many for a clip.
    """
    parts, count = [file.read(0, dtype=dtype, always_2d=True)], 0
    while len(part := file.read(FRAMES_AT_ONCE, dtype=dtype, always_2d=True)):
        parts.append(part)
        count += part.size
        if count > MOST_SAMPLES:
            raise Undecodable(f"The clip has more than {MOST_SAMPLES:,} samples.")
    return np.concatenate(parts)
