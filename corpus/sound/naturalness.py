"""How natural a clip sounds, as networks predict that people would rate it, from 1 to 5.

None of them is a gate: predictors rank expressive speech wrongly, so their scores are compared
anchor by anchor, and there is no cut-off for all.
"""

import contextlib
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from corpus.compute.absent_libraries import stand_in
from corpus.errors import InvalidInput
from corpus.sound.dnsmos import dnsmos, require_dnsmos
from corpus.sound.sound_files import HEARING_RATE, samples_for_hearing
from schemas.recipe_evaluation import DISTILLMOS, DNSMOS, UTMOS

SPEECHMOS = "tarepan/SpeechMOS:v1.2.0"
"""Where the weights of UTMOS are published in a form that PyTorch's hub loads."""


def require_predictor(name: str) -> None:
    """Passes if a predictor can be had, as far as can be told before it is loaded.

    Raises:
        InvalidInput: there is no predictor of that name, and no such folder, or what computes it is
            not installed.
    """
    if name == DNSMOS:
        require_dnsmos("evaluation.mos = dnsmos", f'"{DISTILLMOS}"')
    elif name not in (DISTILLMOS, UTMOS) and not (Path(name) / "hubconf.py").is_file():
        raise InvalidInput(
            f"evaluation.mos: '{name}' is neither {DISTILLMOS}, {DNSMOS} or {UTMOS} nor a folder "
            "with a hubconf.py, as a clone of github.com/tarepan/SpeechMOS has."
        )


def naturalness(clip: bytes, name: str) -> float:
    """The rating that a predictor expects of people for a clip, 1 to 5.

    Raises:
        InvalidInput: the predictor cannot be loaded.
        Undecodable: the clip is no sound file.
    """
    if name == DNSMOS:
        return dnsmos(clip)["overall"]
    return _rater(name)(clip)


@cache
def _rater(name: str) -> Callable[[bytes], float]:
    import torch

    torch.set_num_threads(1)  # there is a process for every core
    model = _distillmos() if name == DISTILLMOS else _from_pytorchs_hub(name)

    def rate(clip: bytes) -> float:
        wave = torch.from_numpy(samples_for_hearing(clip))[None]
        with torch.inference_mode():
            # UTMOS wants to know the rate; the other takes this one alone.
            score = model(wave) if name == DISTILLMOS else model(wave, HEARING_RATE)
        return float(score.squeeze())

    return rate


def _distillmos() -> Any:  # noqa: ANN401  (the library is not typed)
    stand_in("torchaudio")  # its command line reads files with it
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights lie
        from distillmos import ConvTransformerSQAModel

        return ConvTransformerSQAModel().eval()


def _from_pytorchs_hub(name: str) -> Any:  # noqa: ANN401  (the library is not typed)
    import torch

    published = name == UTMOS
    try:
        model = torch.hub.load(  # type: ignore[no-untyped-call]
            SPEECHMOS if published else name,
            UTMOS,
            source="github" if published else "local",
            trust_repo=True,
            verbose=False,
        )
    except (OSError, RuntimeError, ImportError, ValueError) as error:
        raise InvalidInput(
            f"evaluation.mos: {name} cannot be loaded ({' '.join(str(error).split())[:200]}). Name "
            f"a folder with a clone of github.com/tarepan/SpeechMOS and its weights, or "
            f"{DISTILLMOS}, which is bundled."
        ) from None
    return model.eval()
