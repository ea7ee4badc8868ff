"""The adapter's benchmark runs at tiny size, so that it cannot rot between GPUs."""

import json
import subprocess
import sys


def test_every_shape_is_measured_on_a_cpu():
    command = [sys.executable, "-m", "benchmarks.adapter", "--device", "cpu", "--steps", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    shapes = found["training"]
    assert shapes.pop("peak_tflops") > 0
    assert len(shapes) == 6
    assert all(shape["tokens_per_second"] > 0 and shape["mfu"] > 0 for shape in shapes.values())
    assert all(rate > 0 for rate in found["speech_seconds_per_second_by_batch"].values())
