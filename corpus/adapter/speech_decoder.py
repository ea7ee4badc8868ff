"""The speech decoder of GLM-4-Voice: tokens to sound, 22,050 samples a second.

The published checkpoint (THUDM/glm-4-voice-decoder) has two networks: one makes a mel of the tokens
out of noise, one makes a wave of the mel. The noise of each clip is drawn anew from the seed that
the published code has, in its order, so a clip always sounds the same, and the process's own random
numbers are left alone.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import file_digest, sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from corpus.adapter.decoder.config import FILES, PUBLISHED, DecoderConfig, read_config
from corpus.adapter.decoder.flow import Clip, Flow
from corpus.adapter.decoder.vocoder import Hum, Vocoder
from corpus.adapter.decoder.weights import SUFFIXES, load_weights, weights_file
from corpus.adapter.devices import device_named
from corpus.adapter.published_checkpoints import folder_of
from corpus.errors import InvalidInput, SympatheiaError

BATCH = 8
"""Clips decoded together on a GPU unless told otherwise; on a CPU one, where more gain little."""
SEED = 42
"""Of every clip's noise; the published code's, which has no setting for it."""
_ALIKE = 1.25
"""Clips of a batch are at most so many times longer than its shortest: all are padded to one."""
_NETWORKS = ("flow", "hift")


class SpeechDecoder:
    """Decodes clips; `from_pretrained` loads one.

    Attributes:
        sampling_rate: Of the waves, Hz.
        codes: How many different tokens there are.
        device: Where it runs.
    """

    def __init__(
        self, flow: Flow, vocoder: Vocoder, config: DecoderConfig, folder: Path, device: str
    ) -> None:
        self.device = device_named(device)
        self.codes = config.flow.vocab_size
        self.sampling_rate = config.hift.sampling_rate
        self._flow = flow.to(self.device).eval()
        self._vocoder = vocoder.to(self.device).eval()
        self._token_rate = config.flow.input_frame_rate
        self._folder = folder

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "cpu") -> "SpeechDecoder":
        """Loads a checkpoint of the published layout: a folder, or a name on the Hub.

        Args:
            path: Has `config.yaml` or `config.json`, `flow.pt` or `flow.safetensors`, and `hift.pt`
                or `hift.safetensors`.
            device: Where it runs, `cpu` or `cuda:0` for example.

        Raises:
            InvalidInput: There is no such checkpoint or device, or it is another model's.
        """
        device_named(device)
        wanted = [*FILES, *(name + suffix for name in _NETWORKS for suffix in SUFFIXES)]
        folder = folder_of(path, wanted, "speech decoder", PUBLISHED)
        config, file = read_config(folder)
        flow_file, vocoder_file = (weights_file(folder, name) for name in _NETWORKS)
        # Nothing is drawn to begin with: the process's random numbers are the caller's.
        with torch.device("meta"):
            flow, vocoder = Flow(config.flow), Vocoder(config.hift)
        load_weights(flow, flow_file, file)
        load_weights(vocoder, vocoder_file, file)
        return cls(flow, vocoder, config, folder, device)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the files of the checkpoint."""
        digest = sha256()
        _, config = read_config(self._folder)
        for path in (config, *(weights_file(self._folder, name) for name in _NETWORKS)):
            with path.open("rb") as file:
                digest.update(file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def mel(
        self,
        tokens: ArrayLike,
        *,
        noise: ArrayLike | None = None,
        prompt_tokens: ArrayLike | None = None,
        prompt_mel: ArrayLike | None = None,
    ) -> NDArray[np.float32]:
        """The log-mel [bins, frames] of one clip, 6.89 frames a token.

        Args:
            tokens: Integers [tokens].
            noise: Where the flow begins, [bins, frames of prompt and clip], instead of the drawn.
            prompt_tokens: What was said before.
            prompt_mel: How it sounded, [bins, frames]; may be the beginning alone.

        Raises:
            InvalidInput: A token is out of range, or something has another shape.
        """
        said = self._tokens(() if prompt_tokens is None else prompt_tokens, "prompt_tokens")
        row = torch.cat((said, self._tokens(tokens, "tokens")))
        frames = self._frames(len(row))
        bins = self._vocoder.bins
        known = torch.zeros(bins, 0) if prompt_mel is None else _floats(prompt_mel)
        if known.ndim != 2 or len(known) != bins or known.shape[1] > frames:
            raise InvalidInput(
                f"prompt_mel has the shape {list(known.shape)}; with {len(row)} tokens it is to be "
                f"[{bins}, frames], at most {frames} frames."
            )
        begin = self._drawn(frames)[0] if noise is None else _floats(noise)
        if begin.shape != (bins, frames):
            raise InvalidInput(
                f"noise has the shape {list(begin.shape)}; for {len(row)} tokens, those of the "
                f"prompt included, it is to be [{bins}, {frames}]."
            )
        if not frames:
            return begin.numpy()
        with self._at_work():
            mel = self._flow([Clip(row, begin, known)])[0][:, known.shape[1] :]
        return mel.cpu().numpy()

    def wave(self, mel: ArrayLike, *, source: ArrayLike | None = None) -> NDArray[np.float32]:
        """The wave [256 * frames] of a mel, within -0.99 and 0.99.

        Args:
            mel: What `mel` gives, [bins, frames].
            source: The hummed wave that the network shapes, [256 * frames], instead of the one that
                is made of the mel's pitch and drawn noise.

        Raises:
            InvalidInput: Something has another shape.
        """
        given = _floats(mel)
        bins, hop = self._vocoder.bins, self._vocoder.hop
        if given.ndim != 2 or len(given) != bins:
            raise InvalidInput(
                f"The mel has the shape {list(given.shape)}; it is to be [{bins}, frames]."
            )
        samples = hop * given.shape[1]
        hummed = None if source is None else _floats(source)
        if hummed is not None and hummed.shape != (samples,):
            raise InvalidInput(
                f"source has the shape {list(hummed.shape)}; for {given.shape[1]} frames it is to "
                f"be [{samples}]."
            )
        if not samples:
            return np.zeros(0, dtype=np.float32)
        with self._at_work():
            given = given.to(self.device)
            if hummed is None:
                hummed = self._vocoder.source(given, self._drawn(given.shape[1])[1])
            return self._wave(given, hummed.to(self.device))

    def decode(
        self, clips: Sequence[ArrayLike], batch: int | None = None
    ) -> list[NDArray[np.float32]]:
        """The wave of each clip, each as `wave(mel(tokens))` gives it.

        One at a time they are so to the bit, with as many threads. Decoded together they differ by
        rounding, by up to 1e-4 in the mel; the pitch that is read from it moves with that, and the
        phase with the pitch, so that samples differ by up to some hundredths.

        Args:
            clips: For each clip its tokens, integers [tokens]; a clip may have none.
            batch: Clips decoded together; None is one on a CPU and `BATCH` on a GPU.

        Returns:
            For each clip its samples at `sampling_rate`, [256 * frames]; none without tokens.

        Raises:
            InvalidInput: A token is out of range; no clip is decoded then.
            SympatheiaError: The device does not hold one of them.
        """
        rows = [self._tokens(tokens, f"clips[{n}]") for n, tokens in enumerate(clips)]
        most = batch or (1 if self.device.type == "cpu" else BATCH)
        waves = [np.zeros(0, dtype=np.float32)] * len(rows)
        for chosen in _batches([len(row) for row in rows], most):
            made = self._decode([rows[n] for n in chosen])
            for n, wave in zip(chosen, made, strict=True):
                waves[n] = wave
        return waves

    def _decode(self, rows: Sequence[Tensor]) -> list[NDArray[np.float32]]:
        """The waves of some clips, their mels together as far as there is memory for them."""
        drawn = [self._drawn(self._frames(len(row))) for row in rows]
        known = torch.zeros(self._vocoder.bins, 0)
        try:
            with self._at_work():
                mels = self._flow(
                    [Clip(row, noise, known) for row, (noise, _) in zip(rows, drawn, strict=True)]
                )
                # Each by itself: its length fills a GPU, and a wave has edges that count.
                return [
                    self._wave(mel, self._vocoder.source(mel, hum))
                    for mel, (_, hum) in zip(mels, drawn, strict=True)
                ]
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                raise SympatheiaError(
                    f"The memory of {self.device} does not hold a clip of {len(rows[0])} tokens. "
                    "Free some of it, or name another device."
                ) from error
        half = len(rows) // 2
        return self._decode(rows[:half]) + self._decode(rows[half:])

    def _wave(self, mel: Tensor, source: Tensor) -> NDArray[np.float32]:
        return self._vocoder(mel, source).cpu().numpy()

    def _frames(self, tokens: int) -> int:
        """How many frames some tokens have; rounded as the published code does, in float32."""
        seconds = torch.tensor(tokens, dtype=torch.int32) / self._token_rate
        return int(seconds * self.sampling_rate / self._vocoder.hop)

    def _drawn(self, frames: int) -> tuple[Tensor, Hum]:
        """What is random in a clip: where its flow begins [bins, frames], and in its source."""
        # On the CPU whatever the device: a GPU draws other numbers.
        generator = torch.Generator().manual_seed(SEED)
        vocoder = self._vocoder
        noise = torch.randn(vocoder.bins, frames, generator=generator)
        phases = torch.rand(vocoder.harmonics, generator=generator) * (2 * math.pi) - math.pi
        phases[0] = 0
        samples = torch.randn(vocoder.harmonics, vocoder.hop * frames, generator=generator)
        return noise, Hum(phases, samples)

    def _tokens(self, given: ArrayLike, name: str) -> Tensor:
        """Tokens as int64 [tokens]."""
        try:
            tokens = np.asarray(given.cpu() if isinstance(given, Tensor) else given)
        except ValueError:  # of rows that are not as long as each other
            tokens = np.empty((0, 0))
        if tokens.ndim != 1 or (tokens.size and tokens.dtype.kind not in "iu"):
            raise InvalidInput(f"{name} holds no row of integers, which tokens are.")
        wrong = np.flatnonzero((tokens < 0) | (tokens >= self.codes))
        if wrong.size:
            raise InvalidInput(
                f"{name}[{wrong[0]}] is {tokens[wrong[0]]}, and the tokens of the decoder in "
                f"{self._folder} are 0 to {self.codes - 1}. They count from the base model's "
                "<|audio_0|>: take its id away from each."
            )
        return torch.from_numpy(tokens.astype(np.int64))

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Without gradients, and without TF32, to which a GPU rounds convolutions by itself."""
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            yield


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Which clips are decoded together: like with like, and none without tokens."""
    chosen: list[int] = []
    for n in sorted((n for n, length in enumerate(lengths) if length), key=lambda n: lengths[n]):
        if chosen and (len(chosen) == most or lengths[n] > _ALIKE * lengths[chosen[0]]):
            yield chosen
            chosen = []
        chosen.append(n)
    if chosen:
        yield chosen


def _floats(given: ArrayLike) -> Tensor:
    """A float32 tensor on the CPU of what may be a tensor on any device, an array or lists."""
    if not isinstance(given, Tensor):
        # A copy: arrays that are read-only or run backwards are none of PyTorch's.
        given = torch.from_numpy(np.array(given, dtype=np.float32, order="C"))
    # In memory of PyTorch's own: sums are rounded by where it begins.
    return given.detach().cpu().float().clone(memory_format=torch.contiguous_format)
