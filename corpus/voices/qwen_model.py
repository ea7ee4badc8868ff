"""Qwen3-TTS: one process's model, and every silence of its package turned into words.

`qwen-tts` speaks whatever it is given: an empty text, a speaker of no name, control tokens that
change who speaks; it leaves unknown arguments aside, and a clip that ran into the limit of frames
looks like any other. What can be seen before is refused by `corpus.voices.qwen_server`, which is
told the model's `Facts`; what shows only after is in `Spoken.problem`. The model runs in the
environment of `make setup-qwen-tts`, one in each process of `qwen_process`.
"""

import contextlib
import io
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from corpus.compute.absent_libraries import stand_in
from corpus.compute.worker_processes import worker_processes
from corpus.errors import InvalidInput, SympatheiaError
from corpus.sound.clip_audio import encode_flac, encode_wav
from corpus.sound.clip_rejection_rules import MAX_GAP_SECONDS, MAX_SECONDS_PER_WORD, SPARE_SECONDS
from corpus.sound.sound_files import Samples
from schemas.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from qwen_tts import Qwen3TTSModel  # type: ignore[import-not-found]

CODEC = "qwen3_tts_tokenizer_12hz"
ROLES, ROLE_TOKENS = "<|im_start|>assistant\n<|im_end|>\n<|im_start|>assistant\n", 8
"""What the package puts around a text, and the number of tokens by which it finds it again."""
FALLBACK_FRAMES = 2048
"""The package's own limit where a model states none: 164 s."""
WIDE_FROM = "\u2e80"
"""From here on writing has no spaces between words, and a character takes about as long as one."""


class GenerationFailed(SympatheiaError):
    """The model failed at a batch; the message says how."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is to be said, by whom and how.

    Attributes:
        text: without control tokens and white space around it; not empty.
        speaker: one of `Facts.speakers`.
        language: one of `Facts.languages`.
        instructions: the style in words; may be empty.
        seed: with those of the rest of the batch it decides what is drawn.
        max_new_tokens: most frames, and one; None leaves it to the model and the text.
        container: "wav" or "flac".
    """

    text: str
    speaker: str
    language: str
    instructions: str
    seed: int
    max_new_tokens: int | None
    container: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """One clip, or why there is none.

    Attributes:
        clip: 24 kHz mono WAV or FLAC; None where there is a problem.
        frames: how long it is, in frames of the codec (80 ms).
        problem: "truncated", "runaway" or "not_finite"; None if the clip is whole.
        why: the problem as a sentence; empty without one.
    """

    clip: bytes | None
    frames: int
    problem: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model can do, as its files say; names in lower case.

    Attributes:
        speakers: whom it can speak as.
        languages: what it can speak, "auto" among them.
        control_tokens: what its text tokenizer would obey instead of having it read out.
        takes_instructions: whether it heeds them; the 0.6B model drops them without a word.
    """

    speakers: tuple[str, ...]
    languages: tuple[str, ...]
    control_tokens: tuple[str, ...]
    takes_instructions: bool


def text_frames(text: str, frames_per_second: float) -> int:
    """The most frames a text could need: what goes on for longer is running away.

    The bound is that of the clip rule `too_slow`, with room for as much silence around the speech
    as the rules bear within it.
    """
    words = len(text.split()) + sum(char >= WIDE_FROM for char in text)
    seconds = MAX_SECONDS_PER_WORD * words + SPARE_SECONDS + MAX_GAP_SECONDS
    return int(seconds * frames_per_second)


def batch_seed(seeds: Sequence[int]) -> int:
    """One seed for a batch from those of its members, in their order."""
    return int.from_bytes(sha256(repr(list(seeds)).encode()).digest()[:7], "big")


class Model:
    """A Qwen3-TTS CustomVoice model on one device.

    Args:
        source: a model folder, or a name at the hub.
        device: as PyTorch names it.

    Attributes:
        facts: what it can do.
        samples_per_frame: of the codec, 1920.

    Raises:
        InvalidInput: it is no such model, or cannot be loaded there; the message says why.
    """

    def __init__(self, source: str, device: str) -> None:
        try:
            self._model: Any = _load(source, device)
            model = self._model.model
            codec = model.speech_tokenizer
            kind = (model.tts_model_type, codec.get_model_type(), codec.get_output_sample_rate())
        except ModuleNotFoundError as error:
            raise InvalidInput(
                f"{sys.executable} cannot run Qwen3-TTS: {_line(error)}. Make an environment for "
                "it with `make setup-qwen-tts`, or name another interpreter with --python."
            ) from error
        except Exception as error:
            raise InvalidInput(
                f"The model {source} cannot be loaded on {device}: {_line(error)}. Give --model a "
                "folder or name of a Qwen3-TTS CustomVoice model and --device one that is there."
            ) from error
        if kind != ("custom_voice", CODEC, SAMPLE_RATE):
            raise InvalidInput(
                f"The model {source} is of the kind {kind[0]} with {kind[1]} at {kind[2]} Hz; give "
                f"--model one of the kind custom_voice with {CODEC} at {SAMPLE_RATE} Hz."
            )
        tokenizer = self._model.processor.tokenizer
        if len(tokenizer(ROLES)["input_ids"]) != ROLE_TOKENS:
            raise InvalidInput(
                f"The text tokenizer of {source} does not take each role for one word, so that "
                "texts would be cut. Get the model's tokenizer files anew."
            )
        self.samples_per_frame: int = codec.get_decode_upsample_rate()
        self._most: int = self._model.generate_defaults.get("max_new_tokens", FALLBACK_FRAMES)
        self.facts = Facts(
            speakers=tuple(self._model.get_supported_speakers()),
            languages=tuple(self._model.get_supported_languages()),
            control_tokens=tuple(sorted(tokenizer.get_added_vocab())),
            takes_instructions=model.tts_model_size not in "0b6",  # the package's own test
        )

    def speak(self, batch: Sequence[Utterance]) -> list[Spoken]:
        """Speaks a batch at once; the same batch gives the same clips on the same machine.

        Raises:
            GenerationFailed: the model failed; the device may be unusable after.
        """
        import torch

        limits = [self._limit(one) for one in batch]
        torch.manual_seed(batch_seed([one.seed for one in batch]))
        try:
            sounds, _ = self._model.generate_custom_voice(
                text=[one.text for one in batch],
                speaker=[one.speaker for one in batch],
                language=[one.language for one in batch],
                instruct=[one.instructions for one in batch],
                max_new_tokens=max(limits),
            )
        except Exception as error:
            raise GenerationFailed(
                f"The model failed at a batch of {len(batch)}: {_line(error)}. If its memory was "
                "too small, start the server with a smaller --batch or send smaller batches."
            ) from error
        return [self._judged(*each) for each in zip(batch, sounds, limits, strict=True)]

    def _limit(self, one: Utterance) -> int:
        """The most tokens of one text: the number asked for, or what shows that it runs away."""
        # The last token of a clip is its end and no frame, and one frame over tells.
        enough = text_frames(one.text, SAMPLE_RATE / self.samples_per_frame) + 2
        return min(one.max_new_tokens or self._most, enough)

    def _judged(self, one: Utterance, sound: Samples, limit: int) -> Spoken:
        frames = len(sound) // self.samples_per_frame
        seconds = len(sound) / SAMPLE_RATE
        # What ended exactly at the limit cannot be told from what was cut there.
        if frames >= limit - 1:
            asked = one.max_new_tokens or self._most
            if limit == asked:
                why = f"The clip was cut off at max_new_tokens ({asked}), after {seconds:.1f} s."
                return Spoken(None, frames, "truncated", why)
            why = f"The clip did not end in {seconds:.1f} s, longer than the text can take."
            return Spoken(None, frames, "runaway", why)
        if not np.isfinite(sound).all():
            return Spoken(None, frames, "not_finite", "The clip has samples that are no numbers.")
        encode = encode_flac if one.container == "flac" else encode_wav
        return Spoken(encode(sound.clip(-1.0, 1.0)), frames)


def qwen_process(source: str, device: str) -> ProcessPoolExecutor:
    """A process in which `facts` and `spoken` work, with a model that the first of them loads."""
    return worker_processes(1, _begin, source, device)


def facts() -> Facts:
    """What the model of this process can do; for what it raises see `Model`."""
    return _model().facts


def spoken(batch: Sequence[Utterance]) -> list[Spoken]:
    """`Model.speak` with the model of this process."""
    return _model().speak(batch)


_which: tuple[str, str] | None = None


def _begin(source: str, device: str) -> None:
    global _which
    _which = source, device


@cache
def _model() -> Model:
    assert _which is not None, "not in a process of qwen_process"
    return Model(*_which)


def _load(source: str, device: str) -> "Qwen3TTSModel":
    import_package()
    import torch
    import transformers
    from qwen_tts import Qwen3TTSModel

    # Else it writes a line about padding for every batch.
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("this PyTorch sees no GPU")
    # Half the memory on a GPU; a CPU has no arithmetic of its own for it.
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    return Qwen3TTSModel.from_pretrained(source, device_map=device, dtype=dtype)


def import_package() -> None:
    """Imports `qwen_tts` in silence and without what only its 25 Hz codec needs.

    Of that, torchaudio does not import beside a CPU build of PyTorch, and sox complains.

    Raises:
        ModuleNotFoundError: It is not installed for this interpreter.
    """
    stand_in("torchaudio", "torchaudio.compliance", "torchaudio.compliance.kaldi")
    stand_in("sox")
    stand_in("onnxruntime")
    # It prints about another library that would make that codec faster.
    with contextlib.redirect_stdout(io.StringIO()):
        import qwen_tts  # noqa: F401


def _line(error: Exception) -> str:
    """An error on one line, as a clause."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(". ")
