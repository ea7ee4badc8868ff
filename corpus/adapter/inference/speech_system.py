"""The whole line from speech to speech: hear, write, speak."""

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from corpus.adapter.inference.language_model import LanguageModel, Sampling
from corpus.adapter.inference.replies import Reply, ReplyReader
from corpus.adapter.prompt_template import prompt
from corpus.adapter.speech_decoder import SpeechDecoder
from corpus.adapter.speech_tokens import RATE as HEARD_RATE
from corpus.adapter.speech_tokens import SpeechTokenizer
from corpus.errors import InvalidInput
from corpus.sound.sound_files import Undecodable, decode, promised

LONGEST_SECONDS = 60.0
"""Of a question: twice the longest that the corpus has, and what a turn of speech is."""
QUIETEST = 1e-4
"""A peak under this, -80 dB, is no speech in 16 bits: three steps."""
MOST_PHASES = 1000
"""Of a rate, once what it shares with the heard one is taken away: 44,100 and 11,025 have 441. What
resamples grows with it, and at 44,101 takes six gigabytes."""


@dataclass(frozen=True)
class Parts:
    """The checkpoints of a system: folders, or names on the Hub.

    Attributes:
        base: GLM-4-Voice's language model.
        speech_tokenizer: what hears.
        decoder: what speaks.
        adapter: what was trained; None for the base alone.
        device: where all run.
    """

    base: str
    speech_tokenizer: str
    decoder: str
    adapter: str | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Answer:
    """What the system said.

    Attributes:
        prompt: what the language model was given.
        reply: its words and speech tokens.
        wave: the sound (samples,), float32 within -1 and 1; None where there is none.
        sampling_rate: of the sound, Hz.
    """

    prompt: str
    reply: Reply
    wave: NDArray[np.float32] | None
    sampling_rate: int


class SpeechSystem:
    """Hears a question, writes a response to it, and speaks that."""

    def __init__(self, ear: SpeechTokenizer, model: LanguageModel, mouth: SpeechDecoder) -> None:
        self._ear, self._model, self._mouth = ear, model, mouth
        self._reader = ReplyReader(model.tokenizer, mouth.codes, model.stops)

    @classmethod
    def from_pretrained(cls, parts: Parts) -> "SpeechSystem":
        """Loads every part.

        Raises:
            InvalidInput: One is not there, or is another model's.
        """
        return cls(
            SpeechTokenizer.from_pretrained(parts.speech_tokenizer, parts.device),
            LanguageModel.from_pretrained(parts.base, parts.adapter, parts.device),
            SpeechDecoder.from_pretrained(parts.decoder, parts.device),
        )

    def answer(
        self,
        sound: bytes,
        affect: tuple[float, float] | str | None,
        seed: int = 0,
        sampling: Sampling | None = None,
    ) -> Answer:
        """Answers one question.

        Args:
            sound: A sound file that `require_question` lets pass; of several channels the first
                counts.
            affect: Valence and arousal; None if they are not told; `BARE` of the prompt template.
            seed: Of what is drawn.
            sampling: How the words are drawn; as published if None.

        Raises:
            SympatheiaError: The device's memory is full.
        """
        (heard,) = self._ear.encode([sound])
        asked = prompt(heard, affect)
        (written,) = self._model.continued([asked], [seed], sampling or Sampling())
        reply = self._reader.read(written)
        wave = self._mouth.decode([reply.tokens])[0] if reply.speakable else None
        return Answer(asked, reply, wave, self._mouth.sampling_rate)


def require_question(sound: bytes) -> None:
    """Refuses what is no question: no sound file, silence, an hour, or a rate that nobody records.

    Raises:
        InvalidInput: It is none.
    """
    try:
        # First as its header says: a day of sound is a small file, and fills the memory.
        _require_usual(*promised(sound))
        samples, rate = decode(sound)
    except Undecodable as error:
        raise InvalidInput(f"{error} Give a WAV or FLAC file with speech.") from error
    _require_usual(len(samples) / rate, rate)
    if not len(samples) or not QUIETEST <= np.abs(samples[:, 0]).max() < np.inf:
        raise InvalidInput(
            "The clip has no speech in it: its first channel is silent. Record it again, or give "
            "another."
        )


def _require_usual(seconds: float, rate: int) -> None:
    if seconds > LONGEST_SECONDS:
        raise InvalidInput(
            f"The clip lasts {seconds:,.0f} seconds; a question has at most {LONGEST_SECONDS:.0f}. "
            "Cut it to what is to be answered."
        )
    if rate // gcd(rate, HEARD_RATE) > MOST_PHASES:
        raise InvalidInput(
            f"The clip has {rate:,} samples a second, which nothing here can change to the "
            f"{HEARD_RATE:,} that the model hears. Save it at 16,000, 44,100 or 48,000."
        )
