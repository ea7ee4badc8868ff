"""Mel to wave: a network that shapes a hummed source until it speaks (HiFT).

The pitch is read from the mel. Its harmonics are hummed at the full rate, and at every stage of the
network, which raises the frames to the rate of a small Fourier transform, their spectrum is added.
What comes out at the end is the spectrum of the sound. Parameters have the published names, but
that weights which the files hold as direction and length are whole here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from corpus.adapter.decoder.config import PitchConfig, VocoderConfig

_LOUDEST = 100.0
"""A magnitude of the spectrum at most; the published code's."""
_LAST_SLOPE = 0.01
"""Of the last leaky ReLU, which is not the configured one."""
_CONVOLUTIONS_OF_PITCH = 5


@dataclass(frozen=True)
class Hum:
    """What is random in a source.

    Attributes:
        phases: Where each harmonic begins, radians, [harmonics]; the first at 0.
        noise: Of unit variance, [harmonics, samples].
    """

    phases: Tensor
    noise: Tensor


class Snake(nn.Module):
    """A periodic activation, of a frequency for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, channels, frames] to the same."""
        alpha = self.alpha[:, None]
        return hidden + torch.sin(alpha * hidden).square() / (alpha + 1e-9)


class ResidualBlock(nn.Module):
    """Pairs of convolutions, the first of each dilated."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=(kernel - 1) * d // 2)
            for d in dilations
        )
        self.convs2 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in dilations
        )
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, channels, frames] to the same."""
        for snake, dilated, other, plain in zip(
            self.activations1, self.convs1, self.activations2, self.convs2, strict=True
        ):
            hidden = hidden + plain(other(dilated(snake(hidden))))
        return hidden


class PitchPredictor(nn.Module):
    """Hears the pitch in a mel."""

    def __init__(self, config: PitchConfig) -> None:
        super().__init__()
        width, parts = config.in_channels, []
        for _ in range(_CONVOLUTIONS_OF_PITCH):
            parts += [nn.Conv1d(width, config.cond_channels, 3, padding=1), nn.ELU()]
            width = config.cond_channels
        self.condnet = nn.Sequential(*parts)
        self.classifier = nn.Linear(width, config.num_class)

    def forward(self, mel: Tensor) -> Tensor:
        """[batch, bins, frames] to Hz, [batch, frames]."""
        return self.classifier(self.condnet(mel).transpose(1, 2)).squeeze(-1).abs()


class Source(nn.Module):
    """Mixes the harmonics to one wave."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        self.harmonics = config.nb_harmonics + 1
        self.l_linear = nn.Linear(self.harmonics, 1)

    def forward(self, pitch: Tensor, hum: Hum) -> Tensor:
        """Pitch at every sample, Hz [samples], to a wave [samples].

        Harmonics in the voiced parts, noise in the others, on the CPU whatever the device: a GPU
        sums in another order, and the phase is a sum over the whole clip.
        """
        config = self.config
        pitch = pitch.cpu()
        number = torch.arange(1, self.harmonics + 1, dtype=torch.float32)[:, None]
        turns = torch.cumsum(pitch * number / config.sampling_rate, dim=1) % 1
        sines = config.nsf_alpha * torch.sin(2 * math.pi * turns + hum.phases[:, None])
        voiced = (pitch > config.nsf_voiced_threshold).float()
        loudness = voiced * config.nsf_sigma + (1 - voiced) * config.nsf_alpha / 3
        harmonics = sines * voiced + loudness * hum.noise
        return torch.tanh(self.l_linear(harmonics.T.to(self.l_linear.weight.device))).squeeze(-1)


class Vocoder(nn.Module):
    """The whole.

    Attributes:
        hop: Samples of a frame of mel.
        bins: Of a frame.
        harmonics: In the source.
    """

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        self.hop = math.prod(config.upsample_rates) * config.istft_params.hop_len
        self.bins = config.in_channels
        self.harmonics = config.nb_harmonics + 1
        spectrum = config.istft_params.n_fft + 2
        widths = [config.base_channels >> stage for stage in range(len(config.upsample_rates) + 1)]
        self.m_source = Source(config)
        self.f0_predictor = PitchPredictor(config.f0_predictor)
        self.conv_pre = nn.Conv1d(config.in_channels, widths[0], 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(inner, outer, kernel, rate, (kernel - rate) // 2)
            for inner, outer, kernel, rate in zip(
                widths,
                widths[1:],
                config.upsample_kernel_sizes,
                config.upsample_rates,
                strict=False,  # pairs of widths
            )
        )
        self.source_downs = nn.ModuleList(
            _downsampling(spectrum, width, math.prod(config.upsample_rates[stage:]))
            for stage, width in enumerate(widths[1:], start=1)
        )
        self.source_resblocks = nn.ModuleList(
            map(
                ResidualBlock,
                widths[1:],
                config.source_resblock_kernel_sizes,
                config.source_resblock_dilation_sizes,
            )
        )
        self.resblocks = nn.ModuleList(
            ResidualBlock(width, kernel, dilations)
            for width in widths[1:]
            for kernel, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
            )
        )
        self.conv_post = nn.Conv1d(widths[-1], spectrum, 7, padding=3)

    def source(self, mel: Tensor, hum: Hum) -> Tensor:
        """The source [samples] of a mel [bins, frames]."""
        pitch = self.f0_predictor(mel[None])[0]
        return self.m_source(pitch.repeat_interleave(self.hop), hum)

    def forward(self, mel: Tensor, source: Tensor) -> Tensor:
        """A mel [bins, frames] and a source [hop * frames] to a wave as long as the source."""
        spectrum = self._transform(source)
        hidden = self.conv_pre(mel[None])
        for stage, (up, down, block) in enumerate(
            zip(self.ups, self.source_downs, self.source_resblocks, strict=True), start=1
        ):
            hidden = up(leaky_relu(hidden, self.config.lrelu_slope))
            if stage == len(self.ups):
                # The transform has one frame more than there are hops.
                hidden = pad(hidden, (1, 0), mode="reflect")
            hidden = self._mean_of_blocks(hidden + block(down(spectrum)), stage - 1)
        return self._inverse(self.conv_post(leaky_relu(hidden, _LAST_SLOPE)))

    def _mean_of_blocks(self, hidden: Tensor, stage: int) -> Tensor:
        kinds = len(self.config.resblock_kernel_sizes)
        total = torch.zeros_like(hidden)
        for block in self.resblocks[stage * kinds : (stage + 1) * kinds]:
            total = total + block(hidden)
        return total / kinds

    def _transform(self, source: Tensor) -> Tensor:
        """Real and imaginary parts of a source's spectrum, [1, n_fft + 2, frames]."""
        sizes = self.config.istft_params
        found = torch.stft(
            source[None],
            sizes.n_fft,
            sizes.hop_len,
            window=torch.hann_window(sizes.n_fft, device=source.device),
            return_complex=True,
        )
        return torch.cat((found.real, found.imag), dim=1)

    def _inverse(self, spectrum: Tensor) -> Tensor:
        """Logarithms of magnitudes, and phases, [1, n_fft + 2, frames], to a wave [samples]."""
        sizes = self.config.istft_params
        magnitude, phase = spectrum.chunk(2, dim=1)
        magnitude, phase = magnitude.exp().clamp(max=_LOUDEST), torch.sin(phase)
        wave = torch.istft(
            torch.polar(magnitude, phase),
            sizes.n_fft,
            sizes.hop_len,
            window=torch.hann_window(sizes.n_fft, device=spectrum.device),
        )[0]
        return wave.clamp(-self.config.audio_limit, self.config.audio_limit)


def _downsampling(inner: int, outer: int, rate: int) -> nn.Conv1d:
    """A convolution to the rate of a stage."""
    if rate == 1:
        return nn.Conv1d(inner, outer, 1)
    return nn.Conv1d(inner, outer, 2 * rate, rate, rate // 2)
