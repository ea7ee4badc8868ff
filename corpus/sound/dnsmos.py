"""DNSMOS: how clean a clip sounds, as a network predicts that people would rate it."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corpus.errors import InvalidInput
from corpus.sound.sound_files import HEARING_RATE, samples_for_hearing


def require_dnsmos(asked_by: str = "speech.dnsmos_per_cell", instead: str = "0") -> None:
    """Checks that what computes DNSMOS is installed.

    Args:
        asked_by: the key that wants it.
        instead: what the key may be set to that does not.

    Raises:
        InvalidInput: it is not.
    """
    if not all(find_spec(name) for name in ("speechmos", "librosa")):
        raise InvalidInput(
            f"{asked_by}: what computes DNSMOS is not installed. Run `pip install speechmos "
            "librosa` in this environment (librosa brings soxr, which is LGPL), or set it to "
            f"{instead}."
        )


def dnsmos(clip: bytes) -> dict[str, float]:
    """DNSMOS P.835 of a clip.

    No gate: genuine Qwen3-TTS has 2.45 to 3.55 (5 to 95 %), read human speech 3.17 in the mean,
    broken ports of the same model 2.59.
    """
    scores = _rater()(samples_for_hearing(clip).clip(-1.0, 1.0), HEARING_RATE, False)
    return {"overall": float(scores["ovrl_mos"])}


@cache
def _rater() -> Callable[[NDArray[np.float32], int, bool], dict[str, float]]:
    """The package's own model, on one core.

    It leaves the number of threads to onnxruntime, which takes every core for each session and does
    not heed OMP_NUM_THREADS.
    """
    import onnxruntime  # type: ignore[import-untyped]
    from speechmos import dnsmos as package

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    models = Path(package.__file__).with_name("dnsmos_models")
    quality, overall = str(models / "sig_bak_ovr.onnx"), str(models / "model_v8.onnx")
    model = package.DNSMOS(quality, overall)
    model.onnx_sess = onnxruntime.InferenceSession(quality, options)
    model.p808_onnx_sess = onnxruntime.InferenceSession(overall, options)
    rater: Callable[[NDArray[np.float32], int, bool], dict[str, float]] = model
    return rater
