"""The speech tokenizer of GLM-4-Voice: sound to tokens, 12.5 a second.

The published checkpoint (THUDM/glm-4-voice-tokenizer) is a Whisper encoder cut off after some
layers, with causal convolutions, attention in blocks of four seconds, and a codebook at its end.
Transformers has the layers and the features; this module has what is special about it. Every clip
is cut into segments of 30 s, and each segment's features are made by itself, so a token depends on
nothing but its own segment, whatever else is in the batch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import file_digest, sha256
from pathlib import Path
from socket import gethostname

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, gelu, pad
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoderLayer

from corpus.adapter.devices import device_named, devices_here
from corpus.adapter.published_checkpoints import folder_of
from corpus.adapter.resampling import resample
from corpus.errors import InvalidInput, SympatheiaError
from corpus.sound.sound_files import Undecodable, decode

RATE = 16_000
"""Hz, what the encoder hears."""
SEGMENT_SECONDS = 30
BATCH = 32
"""Segments encoded together unless told otherwise."""
_PREFIX = "model.encoder."
_CODES_AT_ONCE = 8192
"""Frames compared with the codebook at once: half a gigabyte at the published size."""

Sound = Path | str | bytes | NDArray[np.float32] | Tensor


@dataclass(frozen=True)
class _Config:
    """What the published `config.json` says of the encoder."""

    whisper: WhisperConfig
    layers: int
    pooling: int
    block: int
    codes: int

    @classmethod
    def read(cls, folder: Path) -> "_Config":
        data = orjson.loads((folder / "config.json").read_bytes())
        known = {
            key: data[key]
            for key in (
                "d_model",
                "encoder_attention_heads",
                "encoder_ffn_dim",
                "num_mel_bins",
                "max_source_positions",
            )
        }
        if data.get("pooling_type", "avg") != "avg" or data.get("encoder_causal_attention"):
            raise InvalidInput(f"{folder}/config.json describes another kind of encoder.")
        whisper = WhisperConfig(**known, activation_function="gelu", dropout=0.0)
        whisper._attn_implementation = "sdpa"
        return cls(
            whisper,
            data["quantize_position"],
            data["pooling_kernel_size"],
            data["quantize_causal_block_size"],
            data["quantize_vocab_size"],
        )


class _Encoder(nn.Module):
    """The network; its parameters have the published names."""

    def __init__(self, config: _Config) -> None:
        super().__init__()
        width = config.whisper.d_model
        self.config = config
        self.conv1 = nn.Conv1d(config.whisper.num_mel_bins, width, kernel_size=3)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2)
        self.embed_positions = nn.Embedding(config.whisper.max_source_positions, width)
        self.layers = nn.ModuleList(
            WhisperEncoderLayer(config.whisper) for _ in range(config.layers)
        )
        self.codebook = nn.Embedding(config.codes, width)

    def forward(self, features: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and which of them are real, both [batch, ceil(frames / 2 / pooling)].

        Args:
            features: Log-mel features [batch, bins, frames].
            valid: 1 where a frame is sound, 0 where it is padding, [batch, frames].
        """
        hidden = gelu(self.conv1(pad(features, (2, 0))))
        hidden = gelu(self.conv2(pad(hidden, (2, 0)))).transpose(1, 2)
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        valid = valid[:, ::2].bool()
        mask = self._mask(valid)
        for layer in self.layers:
            hidden = layer(hidden, mask)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        step = self.config.pooling
        hidden = pad(hidden, (0, 0, 0, -hidden.shape[1] % step))
        hidden = avg_pool1d(hidden.transpose(1, 2), step).transpose(1, 2)
        return self._nearest(hidden), valid[:, ::step]

    def _mask(self, valid: Tensor) -> Tensor:
        """True where position i may attend to j: [batch, 1, i, j]."""
        place = torch.arange(valid.shape[1], device=valid.device)
        blocks = place // self.config.block
        seen = (place[:, None] >= place) | (blocks[:, None] == blocks)
        return (seen & valid[:, None, :])[:, None]

    def _nearest(self, hidden: Tensor) -> Tensor:
        """The index of the codebook's nearest row by Euclidean distance."""
        codes = self.codebook.weight
        # The frame's own length is the same for every row.
        length = codes.square().sum(1)
        return torch.cat(
            [
                torch.addmm(length, part, codes.T, alpha=-2).argmin(1)
                for part in hidden.flatten(0, 1).split(_CODES_AT_ONCE)
            ]
        ).view(hidden.shape[:2])


def encoder_of(folder: Path) -> _Encoder:
    """The network that a `config.json` describes, without weights yet."""
    return _Encoder(_Config.read(folder))


class SpeechTokenizer:
    """Encodes clips; `from_pretrained` loads one.

    Attributes:
        codes: How many different tokens there are.
    """

    def __init__(
        self,
        encoder: _Encoder,
        features: WhisperFeatureExtractor,
        folder: Path,
        device: torch.device,
    ) -> None:
        self._encoder = encoder.to(device).eval()
        self._features = features
        self._folder = folder
        self._device = device
        self.codes = encoder.config.codes
        self._samples_per_token = features.hop_length * 2 * encoder.config.pooling

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the checkpoint, which its tokens are stored under."""
        return checkpoint_digest(self._folder)

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "cpu") -> "SpeechTokenizer":
        """Loads a checkpoint of the published layout: a folder, or a name on the Hub.

        Args:
            path: Has `config.json`, `preprocessor_config.json` and `model*.safetensors`.
            device: Where it runs, `cpu` or `cuda:0` for example.

        Raises:
            InvalidInput: There is no such checkpoint or device, or it is another model's.
        """
        place = device_named(device)
        folder = checkpoint_folder(path)
        try:
            encoder = encoder_of(folder)
            features = WhisperFeatureExtractor.from_pretrained(folder)
            weights = {
                name.removeprefix(_PREFIX): value
                for file in _weights(folder)
                for name, value in load_file(file).items()
            }
            wanted = encoder.state_dict().keys()
            encoder.load_state_dict({name: weights[name].float() for name in wanted})
        except (
            OSError,
            KeyError,
            TypeError,
            ValueError,
            RuntimeError,
            SafetensorError,
        ) as error:
            raise InvalidInput(
                f"{path} holds no GLM-4-Voice speech tokenizer that can be loaded "
                f"({type(error).__name__}: {' '.join(str(error).split())[:300]})."
            ) from error
        return cls(encoder, features, folder, place)

    def encode(
        self, sounds: Iterable[Sound], sampling_rate: int | None = None, batch: int = BATCH
    ) -> list[list[int]]:
        """The tokens of each clip.

        Args:
            sounds: Files, their bytes, or waveforms (samples,) or (channels, samples); of several
                channels the first counts.
            sampling_rate: Of the waveforms, Hz; files know theirs.
            batch: Segments encoded together. The tokens do not depend on it.

        Returns:
            For each clip its tokens, one for each 80 ms begun of each segment of 30 s.

        Raises:
            InvalidInput: A file is no sound, or a waveform came without its rate.
        """
        segments: list[tuple[int, Tensor]] = []
        count = 0
        for count, sound in enumerate(sounds, start=1):
            samples = resample(*_read(sound, sampling_rate), RATE)
            segments += [(count - 1, part) for part in samples.split(SEGMENT_SECONDS * RATE)]
        # Like with like, so that little is padded; what belongs together is put in order again.
        order = sorted(range(len(segments)), key=lambda n: len(segments[n][1]))
        found: dict[int, list[int]] = {}
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            for n, tokens in zip(
                chosen, self._encode([segments[n][1] for n in chosen]), strict=True
            ):
                found[n] = tokens
        tokens_of: list[list[int]] = [[] for _ in range(count)]
        for n, (clip, _) in enumerate(segments):
            tokens_of[clip] += found[n]
        return tokens_of

    def _encode(self, segments: Sequence[Tensor]) -> list[list[int]]:
        """The tokens of some segments, together as far as there is memory for them."""
        try:
            return self._encode_together(segments)
        except torch.OutOfMemoryError as error:
            if len(segments) == 1:
                raise SympatheiaError(
                    f"The memory of {self._device} does not hold one segment of "
                    f"{SEGMENT_SECONDS} s. Free some of it, or name another device."
                ) from error
        half = len(segments) // 2
        return self._encode(segments[:half]) + self._encode(segments[half:])

    def _encode_together(self, segments: Sequence[Tensor]) -> list[list[int]]:
        frames = [self._frames(segment) for segment in segments if len(segment)]
        if not frames:
            return [[] for _ in segments]
        longest = max(features.shape[-1] for features, _ in frames)
        batch = torch.stack([pad(f, (0, longest - f.shape[-1])) for f, _ in frames])
        valid = torch.stack([pad(v, (0, longest - v.shape[-1])) for _, v in frames])
        # A GPU rounds convolutions to TF32 unless told not to, and other tokens come of it.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            tokens, real = self._encoder(batch.to(self._device), valid.to(self._device))
        rows = iter(zip(tokens.cpu(), real.cpu(), strict=True))
        encoded: list[list[int]] = []
        for segment in segments:
            if not len(segment):
                encoded.append([])
                continue
            row, kept = next(rows)
            encoded.append(row[kept].tolist())
        return encoded

    def _frames(self, segment: Tensor) -> tuple[Tensor, Tensor]:
        """Features [bins, frames] of one segment and which of the frames are sound.

        By itself, padded to a whole token: padded to the longest of a batch, the edge at its end
        would look different to the features from batch to batch.
        """
        made = self._features(
            segment.numpy(),
            sampling_rate=RATE,
            padding="longest",
            pad_to_multiple_of=self._samples_per_token,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return made["input_features"][0], made["attention_mask"][0]


def checkpoint_folder(path: str | Path) -> Path:
    """The folder of a checkpoint; one that is named on the Hub is fetched.

    Raises:
        InvalidInput: There is none.
    """
    wanted = ["*.json", "model*.safetensors"]
    return folder_of(path, wanted, "speech tokenizer", "THUDM/glm-4-voice-tokenizer")


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("model*.safetensors"))


def checkpoint_digest(folder: Path) -> str:
    """SHA-256 over the files of a checkpoint, which need not be loaded for it.

    Raises:
        InvalidInput: A file is missing.
    """
    digest = sha256()
    weights = _weights(folder) or [folder / "model.safetensors"]
    try:
        for path in (folder / "config.json", folder / "preprocessor_config.json", *weights):
            with path.open("rb") as file:
                digest.update(file_digest(file, "sha256").digest())
    except OSError as error:
        raise InvalidInput(
            f"{folder} holds no GLM-4-Voice speech tokenizer: {path.name} cannot be read "
            f"({error.strerror})."
        ) from error
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _of_worker(checkpoint: Path) -> "SpeechTokenizer":
    return SpeechTokenizer.from_pretrained(checkpoint, devices_here()[0])


def encode_in_worker(checkpoint: Path, digest: str, files: list[bytes]) -> list[list[int]]:
    """`SpeechTokenizer.encode` of the bytes of sound files, on the first device of this process.

    Raises:
        InvalidInput: The folder here does not hold the checkpoint of that digest.
    """
    if not checkpoint.is_dir() or _digest_of_worker(checkpoint) != digest:
        raise InvalidInput(
            f"compute.dask: the worker on {gethostname()} does not have this speech tokenizer at "
            f"{checkpoint}. Give it the same folder, at the same path, and run the same command "
            "again; every token that was made is kept."
        )
    return _of_worker(checkpoint).encode(files)


@lru_cache(maxsize=1)
def _digest_of_worker(checkpoint: Path) -> str:
    return checkpoint_digest(checkpoint)


def _read(sound: Sound, rate: int | None) -> tuple[Tensor, int]:
    """The first channel of a clip, float32, and its rate."""
    if isinstance(sound, (Path, str, bytes)):
        name = "the clip" if isinstance(sound, bytes) else str(sound)
        try:
            samples, rate = decode(sound if isinstance(sound, bytes) else Path(sound).read_bytes())
        except (Undecodable, OSError) as error:
            raise InvalidInput(f"{name} is no sound file that can be read: {error}") from error
        return torch.from_numpy(np.ascontiguousarray(samples[:, 0])), rate
    if rate is None:
        raise InvalidInput("A waveform was given without its sampling rate; say it in Hz.")
    wave = torch.as_tensor(sound, dtype=torch.float32).cpu()
    return (wave[0] if wave.ndim == 2 else wave).contiguous(), rate
