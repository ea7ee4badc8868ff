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
    for clip in found["by_length"].values():
        parts = clip["of_it_mel"] + clip["of_it_wave"]
        assert 0 < clip["of_it_mel"] < clip["real_time_factor"]
        assert abs(clip["real_time_factor"] - parts) < 0.01
    length, batches = decoder.BATCHES["cpu"]
    by_batch = found["real_time_factor_by_batch"]
    assert by_batch.pop("tokens") == length
    assert by_batch.pop("clips") == max(batches)
    assert all(by_batch[str(batch)] > 0 for batch in batches)
