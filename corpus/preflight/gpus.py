"""The GPUs of this machine, and whether PyTorch can use them."""

import os
import shutil
import subprocess
from pathlib import Path

from corpus.preflight.findings import Seen, failed, passed, warning

DRIVER = Path("/proc/driver/nvidia/version")
DEVICES = Path("/dev")
"""Where NVIDIA's driver shows itself and its GPUs."""

ANSWER_SECONDS = 20.0
"""For a small program to answer; one on a cold network disk takes some."""


def look_at_gpus() -> Seen:
    """What PyTorch computes on here, and why; a GPU that it cannot use is a warning."""
    there = _gpus_there()
    try:
        import torch
    except (ImportError, OSError) as error:
        return failed(
            f"PyTorch cannot be loaded ({error}).",
            "Install it with the libraries it needs: remove .venv and run 'make setup'.",
        )
    build = f"PyTorch {torch.__version__}"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        driver = f", driver {_driver()}" if _driver() else ""
        return passed(f"{build} computes on {', '.join(names)}{driver}.")
    if not there:
        return passed(f"{build} computes on the CPU; no NVIDIA GPU is seen on this machine.")
    if torch.version.cuda is None:
        remedy = (
            "Training and speech tokens would be computed by the CPU. For the GPU remove .venv and "
            "run 'make setup' where pip's index has PyTorch's CUDA build, as the usual one has."
        )
        return warning(f"There is a GPU ({there}), but {build} is a build for CPUs.", remedy)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return warning(
            f"There is a GPU ({there}), which CUDA_VISIBLE_DEVICES={hidden!r} hides from {build}.",
            "Unset CUDA_VISIBLE_DEVICES, or leave it where the CPU is to train.",
        )
    return warning(
        f"There is a GPU ({there}), but {build}, for CUDA {torch.version.cuda}, cannot use it.",
        "Update the driver to one for that CUDA, or install a PyTorch that suits the driver.",
    )


def _gpus_there() -> str:
    """What shows that there is a GPU, in words; empty if nothing does."""
    if program := shutil.which("nvidia-smi"):
        try:
            answer = subprocess.run(
                [program, "-L"], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return "nvidia-smi does not answer"
        names = [
            line.partition(" (UUID")[0] for line in answer.stdout.splitlines() if "GPU" in line
        ]
        if answer.returncode == 0 and names:
            return "; ".join(names)
    devices = sorted(path.name for path in DEVICES.glob("nvidia[0-9]*"))
    if devices:
        return ", ".join(devices)
    return f"driver {_driver()}" if _driver() else ""


def _driver() -> str:
    """The version of NVIDIA's driver; empty without one."""
    if not DRIVER.is_file():
        return ""
    words = DRIVER.read_text(encoding="utf-8", errors="replace").split()
    return next((word for word in words if word[0].isdigit() and "." in word), "of some version")
