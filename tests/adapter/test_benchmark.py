"""The adapter's benchmarks run at tiny size, so that they cannot rot between GPUs."""

import json
import subprocess
import sys

from benchmarks import decoder


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


def test_the_decoder_is_measured_at_every_length_and_batch(one_thread):
    found = decoder.measured("cpu", published_size=False)
    assert found["size"].startswith("tiny")
    assert len(found["by_length"]) == len(decoder.CLIPS["cpu"])
    length, batches = decoder.BATCHES["cpu"]
    by_batch = found["by_batch"]
    assert by_batch.pop("tokens") == length
    assert by_batch.pop("clips") == max(batches)
    assert list(by_batch) == [str(batch) for batch in batches]
    parts = [clip[part] for clip in found["by_length"].values() for part in ("mel", "wave")]
    for figures in (*parts, *by_batch.values()):
        assert figures["real_time_factor"] > 0
        assert figures["cpu_seconds_per_second"] > 0
