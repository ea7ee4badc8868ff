"""Which devices are computed on, and what is said of a GPU that stays idle."""

import pytest
import torch

from corpus.adapter.devices import devices_here, why
from corpus.adapter.training_sequences import where_encoded


@pytest.fixture
def plant(monkeypatch, tmp_path):
    """Plants a GPU of which the driver's own program tells."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-0)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


def test_devices_are_named_with_what_pytorch_has_here():
    assert why().startswith(f"on {', '.join(devices_here())}: PyTorch {torch.__version__}")


def test_devices_that_were_asked_for_need_no_reason():
    assert why(["cuda:1", "cpu"]) == "on cuda:1, cpu, as asked for"


@pytest.mark.parametrize(
    ("cuda", "hidden", "says", "remedy"),
    [
        (
            None,
            None,
            "is a build for CPUs",
            "run 'make setup' where pip's index has PyTorch's CUDA",
        ),
        ("13.0", "", "CUDA_VISIBLE_DEVICES='' hides", "Unset CUDA_VISIBLE_DEVICES"),
        ("13.0", None, "for CUDA 13.0, cannot use it", "Update the driver"),
    ],
)
def test_a_gpu_that_pytorch_cannot_use_is_told_with_the_remedy(plant, cuda, hidden, says, remedy):
    plant.setattr(torch.version, "cuda", cuda)
    if hidden is not None:
        plant.setenv("CUDA_VISIBLE_DEVICES", hidden)
    told = why()
    assert told.startswith("on cpu: There is a GPU (GPU 0: NVIDIA H100), ")
    assert says in told
    assert remedy in told


def test_a_cluster_of_the_recipe_is_named(whole, tmp_path):
    recipe = (whole / "recipe.toml").read_text()
    assert '\ndask = ""' in recipe
    (tmp_path / "recipe.toml").write_text(
        recipe.replace('\ndask = ""', '\ndask = "tcp://10.0.0.1:8786"')
    )
    assert where_encoded(tmp_path) == (
        "on the Dask cluster at tcp://10.0.0.1:8786, as compute.dask says"
    )
    assert where_encoded(tmp_path, ["cpu"]) == "on cpu, as asked for"
