"""The builtin voice: speaks English text at a point of the valence-arousal plane, on one CPU core.

A small network (hibari) speaks each sentence plainly; the WORLD vocoder takes that apart into
pitch, spectrum and noise, and puts it together again as the point asks: what a point means is
`corpus.voices.affect_to_prosody`. Nothing is remembered between calls and the noise is drawn from
the caller's seed, so the same arguments give the same samples in any process.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pyworld
from hibari import Hibari, dsp
from numpy.typing import NDArray

from corpus.errors import InvalidInput, SympatheiaError
from corpus.voices.affect_to_prosody import Delivery, delivery
from schemas.audio import SAMPLE_RATE
from schemas.prompts import BuiltinSpeaker

MODEL_NAME = "sympatheia-voice-1"
"""Part of every clip's digest and row: a change to what is heard takes a new number."""
MAX_CHARACTERS = 4096
"""Longest text of one call, the limit of the OpenAI speech endpoint; about five minutes."""

FRAME_MS = 5.0
"""WORLD's own default frame; the network's pitch track (12.5 ms) is interpolated to it."""
VOICED_ABOVE_HZ = 40.0
"""The network's own threshold between voiced and unvoiced frames (`hibari.dsp.pulses`)."""
F0_LIMITS_HZ = (60.0, 550.0)
"""Range a speaking voice stays in; beyond it stretched pitch turns into creaks and squeaks."""
TILT_CENTRE_HZ = 1000.0
TILT_OCTAVES = 3.0
"""The tilt turns around 1 kHz and stops three octaves away, 125 Hz and 8 kHz, past which it would
only raise rumble and hiss."""
MOST_BREATHINESS = 0.9
"""From here on a voice whispers, and its pitch can no longer be told."""
NASAL_HZ, NASAL_OCTAVES = (280.0, 900.0), 0.5
"""Where the nose adds a resonance and where it takes one away, and how wide both are: textbook
values for nasal vowels."""
TREMOR_HZ, TREMOR_SEMITONES, JITTER = 5.0, 0.5, 0.35
"""Of the roughest voice: trembles of old age come four to seven times a second; both sizes, in
semitones, are where its words are still understood."""
PAUSE_SECONDS = 0.40
"""Pause between two sentences at rate 1; shorter when speech is faster."""
EDGE_SECONDS = 0.10
"""Silence kept before and after a sentence; the network itself leaves 0.2 to 0.5 s."""
SOUND_BELOW_PEAK_DB = 50.0
"""A sentence begins and ends with the frames within 50 dB of its loudest: soft consonants stay."""
FRAME = SAMPLE_RATE // 100
"""Samples of the 10 ms frames that level and edges are found on."""
ACTIVE_BELOW_PEAK_DB = 40.0
"""Frames within 40 dB of the loudest frame count as speech when the level is set."""
SOFT_KNEE, CEILING = 0.75, 0.97
"""Samples beyond the knee are bent towards the ceiling, which none reaches: no clipping."""

Samples = NDArray[np.float32]
_Array = NDArray[np.float64]


class Unspeakable(SympatheiaError, ValueError):
    """A text this voice cannot speak whole; the message says what stands in its way."""


SPEAKERS: Mapping[str, BuiltinSpeaker] = MappingProxyType(
    {
        "wren": BuiltinSpeaker(semitones=0.0, formants=1.0),
        # A fifth lower with a vocal tract a ninth longer: plainly another person.
        "heron": BuiltinSpeaker(semitones=-7.0, formants=0.9),
    }
)
"""Who speaks where no others are described (`speakers.yaml` of a prompts folder)."""


# What the library reads out, found by trying: anything else it drops without a word, among it six
# accented capitals. The last line holds typographic quotation marks and dashes.
_SPEAKABLE = re.compile(
    r"(?![ÈËÐÙÛÝ])[A-Za-zÀ-ÖØ-öø-ÿ0-9\s.,;:!?()\-/&%$£€#@+=°½¼¾'\"…"
    r"\u2018\u2019\u201c\u201d\u2013\u2014]"
)
_UNREAD = re.compile(
    r"[$£€](?!\s?\d)"  # a currency sign without an amount
    r"|(?<=\d)[-\u2013][$£€]\s?\d"  # "$20-$30": the currency is lost
    r"|#(?!\d)"
    r"|\d['\u2019]\d+"  # feet and inches: 5'9 becomes fifty-nine
    r"|[^\W\d_]{25,}"  # the reader of unknown words stops after 24 letters
)
_WORD = re.compile(r"[^\W_]")


def text_problem(text: str) -> str | None:
    """Why this voice would not speak a text whole, as a clause; None if it would.

    Numbers, amounts of money, percentages, times, dates, ordinals, `&`, `+`, `=`, `@`, `°` and
    common abbreviations are read out by the voice. Everything it would leave out without a word is
    named here instead: other scripts, emoji, markup, a currency sign without an amount.
    """
    text = unicodedata.normalize("NFC", text)
    if not _WORD.search(text):
        return "it has no word to speak"
    if len(text) > MAX_CHARACTERS:
        return f"it has {len(text)} characters, more than {MAX_CHARACTERS}"
    dropped = sorted({char for char in text if not _SPEAKABLE.match(char)})
    if dropped:
        shown = ", ".join(f"{char!r} (U+{ord(char):04X})" for char in dropped[:5])
        return f"it has characters the voice would leave out: {shown}"
    unread = _UNREAD.search(text)
    if unread:
        return f"it has {unread.group()!r}, which the voice would not read out as meant"
    return None


class Voice:
    """The builtin voice, loaded once per process: half a second, 240 MB with its libraries."""

    def __init__(self) -> None:
        self._network: Any = Hibari(threads=1)

    def speak(
        self,
        text: str,
        *,
        speaker: str | BuiltinSpeaker,
        valence: float,
        arousal: float,
        seed: int,
    ) -> Samples:
        """Speaks a text at a point of the valence-arousal plane.

        Args:
            text: English, one or more sentences, at most `MAX_CHARACTERS`.
            speaker: A name in `SPEAKERS`, or another speaker as described.
            valence: -1 to 1.
            arousal: -1 to 1.
            seed: Non-negative; draws the noise in the sound, and nothing else.

        Returns:
            Mono samples at `SAMPLE_RATE`, shape (samples,), all within -1 and 1.

        Raises:
            Unspeakable: If part of the text would not be heard.
            InvalidInput: If the speaker, the point or the seed does not exist.
        """
        who = SPEAKERS.get(speaker) if isinstance(speaker, str) else speaker
        if who is None:
            raise InvalidInput(f"no speaker '{speaker}'; there are {', '.join(SPEAKERS)}")
        if seed < 0:
            raise InvalidInput(f"seed {seed} is negative")
        style = delivery(valence, arousal)
        rng = np.random.default_rng(seed)
        rate = style.rate * who.rate
        pause = np.zeros(round((PAUSE_SECONDS / rate - 2 * EDGE_SECONDS) * SAMPLE_RATE))
        parts: list[_Array] = []
        for sounds in self._sounds(text):
            plain, f0 = self._plain(sounds, rng)
            parts += [pause, _trimmed(_restyle(plain, f0, style, who, rng))]
        return _soft_limit(_at_level(np.concatenate(parts[1:]), style.level)).astype(np.float32)

    def _sounds(self, text: str) -> list[str]:
        """The text as phoneme strings, one per sentence."""
        problem = text_problem(text)
        sounds: list[str] = []
        if problem is None:
            sounds = self._network.phonemize(unicodedata.normalize("NFC", text))
            sounds = [phonemes for phonemes in sounds if any(char.isalpha() for char in phonemes)]
            unknown = {c for phonemes in sounds for c in phonemes} - set(self._network.vocab)
            if unknown:
                problem = f"it has sounds the voice does not have: {' '.join(sorted(unknown))}"
            elif not sounds:
                problem = "it has no word to speak"
        if problem is not None:
            raise Unspeakable(f"The voice cannot speak {text!r:.80}: {problem}.")
        return sounds

    def _plain(self, sounds: str, rng: np.random.Generator) -> tuple[_Array, _Array]:
        """The network's plain reading (samples,) and its pitch in Hz (frames,), 12.5 ms apart."""
        inputs = {
            "ids": np.asarray([self._network.ids(sounds)], np.int64),
            "speed": np.ones(1, np.float32),
        }
        parts = [output[0] for output in self._network.sess.run(None, inputs)]
        return dsp.synth(*parts, rng).astype(np.float64), parts[-1].astype(np.float64)


def _restyle(
    plain: _Array, f0: _Array, style: Delivery, speaker: BuiltinSpeaker, rng: np.random.Generator
) -> _Array:
    """One sentence's samples taken apart by WORLD and put together in a style, by a speaker."""
    times = np.arange(0.0, len(plain) / SAMPLE_RATE, FRAME_MS / 1000.0)
    pitch = _pitch_at(times, f0)
    envelope = pyworld.cheaptrick(plain, pitch, times, SAMPLE_RATE)
    aperiodicity = pyworld.d4c(plain, pitch, times, SAMPLE_RATE)
    if speaker.formants != 1.0:
        envelope = np.exp(_warped(np.log(envelope), speaker.formants))
        aperiodicity = _warped(aperiodicity, speaker.formants)
    # A power below 1 lifts quiet noise most and leaves what is all noise (1.0) alone.
    breathiness = min(style.breathiness + speaker.breathiness, MOST_BREATHINESS)
    aperiodicity = np.ascontiguousarray(aperiodicity ** (1.0 - breathiness))
    gain = _tilt_gain(envelope.shape[1], style.tilt + speaker.tilt)
    if speaker.nasality:
        gain = gain * _nasal_gain(envelope.shape[1], speaker.nasality)
    envelope = np.ascontiguousarray(envelope * gain)
    pitch = _moved(
        pitch, style.semitones + speaker.semitones, style.pitch_range * speaker.pitch_range
    )
    if speaker.roughness:
        pitch = _rough(pitch, speaker.roughness, rng)
    # The rate is set here: the network's own speed counts whole frames per sound, so it moves in
    # leaps (27 % longer to shorter between 1.30 and 1.35).
    sound: _Array = pyworld.synthesize(
        pitch, envelope, aperiodicity, SAMPLE_RATE, FRAME_MS / (style.rate * speaker.rate)
    )
    return sound


def _pitch_at(times: _Array, f0: _Array) -> _Array:
    """The network's pitch track at WORLD's frames; 0 where unvoiced."""
    centres = (np.arange(len(f0)) + 0.5) * dsp.HOP / SAMPLE_RATE
    voiced = f0 > VOICED_ABOVE_HZ
    if not voiced.any():
        return np.zeros_like(times)
    nearest = np.clip((times * SAMPLE_RATE / dsp.HOP).astype(int), 0, len(f0) - 1)
    # Interpolated over voiced frames only, so that edges do not slide towards zero.
    curve = np.interp(times, centres[voiced], f0[voiced])
    return np.where(voiced[nearest], curve, 0.0)


def _moved(pitch: _Array, semitones: float, pitch_range: float) -> _Array:
    """Pitch shifted, and stretched around its mean, in log frequency; unvoiced frames stay 0."""
    voiced = pitch > 0.0
    if not voiced.any():
        return pitch
    log = np.log2(pitch[voiced])
    mean = log.mean()
    moved = mean + semitones / 12.0 + (log - mean) * pitch_range
    result = np.zeros_like(pitch)
    result[voiced] = np.clip(np.exp2(moved), *F0_LIMITS_HZ)
    return result


def _warped(frames: _Array, factor: float) -> _Array:
    """Rows (frames, bins) with the frequency axis stretched by a factor, the top bin held."""
    bins = frames.shape[1]
    position = np.minimum(np.arange(bins) / factor, bins - 1)
    low = np.minimum(position.astype(int), bins - 2)
    share = position - low
    result: _Array = frames[:, low] * (1.0 - share) + frames[:, low + 1] * share
    return result


def _tilt_gain(bins: int, tilt: float) -> _Array:
    """Power gain per bin (bins,) of a tilt in dB per octave."""
    frequencies = np.linspace(0.0, SAMPLE_RATE / 2, bins)
    octaves = np.log2(np.maximum(frequencies, 1.0) / TILT_CENTRE_HZ)
    gain: _Array = 10.0 ** (tilt * np.clip(octaves, -TILT_OCTAVES, TILT_OCTAVES) / 10.0)
    return gain


def _nasal_gain(bins: int, nasality: float) -> _Array:
    """Power gain per bin (bins,) of a resonance of the nose with the gap above it."""
    frequencies = np.maximum(np.linspace(0.0, SAMPLE_RATE / 2, bins), 1.0)
    peak, gap = (
        np.exp(-0.5 * (np.log2(frequencies / centre) / NASAL_OCTAVES) ** 2) for centre in NASAL_HZ
    )
    gain: _Array = 10.0 ** (nasality * (peak - gap) / 10.0)
    return gain


def _rough(pitch: _Array, roughness: float, rng: np.random.Generator) -> _Array:
    """Pitch that trembles slowly and jitters from frame to frame, as that of old voices does."""
    seconds = np.arange(len(pitch)) * FRAME_MS / 1000.0
    tremor = np.sin(2.0 * np.pi * (TREMOR_HZ * seconds + rng.random()))
    semitones = roughness * (TREMOR_SEMITONES * tremor + rng.standard_normal(len(pitch)) * JITTER)
    moved = np.clip(pitch * np.exp2(semitones / 12.0), *F0_LIMITS_HZ)
    return np.where(pitch > 0.0, moved, 0.0)


def _frame_power(sound: _Array) -> _Array:
    """Mean square per whole frame of 10 ms (frames,)."""
    whole = sound[: len(sound) // FRAME * FRAME]
    power: _Array = np.square(whole).reshape(-1, FRAME).mean(axis=1)
    return power


def _trimmed(sound: _Array) -> _Array:
    """The sound from `EDGE_SECONDS` before its first to after its last audible frame."""
    power = _frame_power(sound)
    audible = np.flatnonzero(power > power.max() * 10.0 ** (-SOUND_BELOW_PEAK_DB / 10.0))
    if audible.size == 0:
        raise Unspeakable("The voice made no sound of this text.")
    edge = round(EDGE_SECONDS * SAMPLE_RATE)
    padded = np.pad(sound, edge)
    return padded[audible[0] * FRAME : (audible[-1] + 1) * FRAME + 2 * edge]


def _at_level(sound: _Array, level: float) -> _Array:
    """The sound scaled so that its RMS over speech frames is `level` dBFS."""
    power = _frame_power(sound)
    active = power[power > power.max() * 10.0 ** (-ACTIVE_BELOW_PEAK_DB / 10.0)]
    scaled: _Array = sound * (10.0 ** (level / 20.0) / math.sqrt(active.mean()))
    return scaled


def _soft_limit(sound: _Array) -> _Array:
    """Samples beyond the knee bent smoothly under the ceiling; the rest untouched."""
    size = np.abs(sound)
    room = CEILING - SOFT_KNEE
    bent = SOFT_KNEE + room * np.tanh((size - SOFT_KNEE) / room)
    return np.where(size > SOFT_KNEE, np.copysign(bent, sound), sound)
