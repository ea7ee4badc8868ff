"""The speech tokenizer: the published code's tokens, however the sound comes; and its refusals."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import orjson
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from scipy.signal import resample_poly

from corpus.adapter.resampling import resample
from corpus.adapter.speech_tokens import (
    BATCH,
    RATE,
    SEGMENT_SECONDS,
    SpeechTokenizer,
    checkpoint_digest,
)
from corpus.errors import InvalidInput, SympatheiaError
from tests.support.line import sympatheia, typed

WHISPERVQ = Path(__file__).parent / "golden" / "whispervq"
CHECKPOINT = WHISPERVQ / "tokenizer"
EXPECTED = json.loads((WHISPERVQ / "tokens.json").read_text())
FILES = [WHISPERVQ / name for name in EXPECTED]
TIE = 1e-4


@pytest.fixture(scope="module")
def tokenizer():
    return SpeechTokenizer.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def encoded(tokenizer):
    return tokenizer.encode(FILES)


@pytest.fixture
def checkpoint(tmp_path):
    return shutil.copytree(CHECKPOINT, tmp_path / "checkpoint")


def differing(found):
    """Tokens that are not the published code's, ties between two codes aside."""
    assert [len(tokens) for tokens in found] == [len(e["tokens"]) for e in EXPECTED.values()]
    return [
        (name, place)
        for (name, expected), tokens in zip(EXPECTED.items(), found, strict=True)
        for place, (ours, theirs, margin) in enumerate(
            zip(tokens, expected["tokens"], expected["margins"], strict=True)
        )
        if ours != theirs and margin >= TIE
    ]


def test_every_golden_file_has_the_published_tokens(encoded):
    assert differing(encoded) == []


@pytest.mark.parametrize("batch", [1, 3])
def test_tokens_do_not_depend_on_the_batch(tokenizer, encoded, batch):
    assert batch < BATCH
    assert tokenizer.encode(FILES, batch=batch) == encoded


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("batch", [1, 3, BATCH])
def test_a_gpu_finds_the_published_tokens(batch):
    on_gpu = SpeechTokenizer.from_pretrained(CHECKPOINT, "cuda:0")
    assert differing(on_gpu.encode(FILES, batch=batch)) == []


def test_tokens_depend_neither_on_the_order_nor_on_files_being_bytes(tokenizer, encoded):
    assert tokenizer.encode([path.read_bytes() for path in FILES[::-1]])[::-1] == encoded


def test_waveforms_of_any_shape_have_the_tokens_of_their_files(tokenizer, encoded):
    for path, tokens in zip(FILES, encoded, strict=True):
        samples, rate = soundfile.read(path, dtype="float32")
        if len(samples) > 10 * rate:
            continue
        shaped = samples.T  # (samples,) or (channels, samples)
        waves = [shaped, torch.from_numpy(np.ascontiguousarray(shaped)), np.atleast_2d(shaped)]
        assert tokenizer.encode(waves, sampling_rate=rate) == [tokens] * 3, path.name
    infos = [soundfile.info(path) for path in FILES]
    assert {(info.samplerate, info.channels) for info in infos} >= {(24_000, 1), (16_000, 2)}


def test_one_token_for_each_80_ms_begun_of_each_segment(tokenizer):
    lengths = [1, 1279, 1280, 1281, SEGMENT_SECONDS * RATE, SEGMENT_SECONDS * RATE + 1]
    noise = np.random.default_rng(0).normal(0, 0.1, max(lengths)).astype(np.float32)
    found = tokenizer.encode([noise[:length] for length in lengths], sampling_rate=RATE)
    assert [len(tokens) for tokens in found] == [1, 1, 1, 2, 375, 376]


def test_a_sound_without_samples_has_no_tokens(tokenizer):
    nothing = np.zeros(0, dtype=np.float32)
    tone = np.sin(np.arange(8000) / 20).astype(np.float32)
    alone = tokenizer.encode([tone], sampling_rate=RATE)
    assert tokenizer.encode([nothing, tone, nothing], sampling_rate=RATE) == [[], *alone, []]
    assert tokenizer.encode([nothing], sampling_rate=24_000) == [[]]
    assert tokenizer.encode([]) == []


def test_weights_may_have_the_prefix_of_the_whole_model(tokenizer, encoded, checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    prefixed = {f"model.encoder.{name}": value for name, value in weights.items()}
    half = len(prefixed) // 2
    (checkpoint / "model.safetensors").unlink()
    for number, part in enumerate((list(prefixed)[:half], list(prefixed)[half:]), start=1):
        shard = checkpoint / f"model-{number:05d}-of-00002.safetensors"
        save_file({name: prefixed[name] for name in part}, shard)
    other = SpeechTokenizer.from_pretrained(checkpoint)
    assert other.encode(FILES) == encoded
    assert other.digest != tokenizer.digest == checkpoint_digest(CHECKPOINT)


@pytest.mark.parametrize("rate", [8_000, 22_050, 24_000, 44_100, 48_000])
def test_resampling_keeps_what_both_rates_can_hold(rate):
    seconds, pitch = 1.0, 440.0
    tone = torch.sin(2 * torch.pi * pitch * torch.arange(int(seconds * rate)) / rate)
    found = resample(tone, rate, RATE).numpy()
    wanted = np.sin(2 * np.pi * pitch * np.arange(RATE) / RATE)
    assert found.shape == (RATE,)
    inside = slice(200, -200)  # at its ends a tone is cut off, which holds every pitch
    assert np.abs(found - wanted)[inside].max() < 2e-3
    common = np.gcd(RATE, rate)
    theirs = resample_poly(tone.numpy(), RATE // common, rate // common)
    assert np.abs(found - theirs)[inside].max() < 5e-3


def test_resampling_takes_out_what_the_lower_rate_cannot_hold():
    tone = torch.sin(2 * torch.pi * 11_000 * torch.arange(24_000) / 24_000)
    assert resample(tone, 24_000, RATE)[200:-200].abs().max() < 1e-2
    same = torch.randn(50)
    assert resample(same, RATE, RATE) is same


BAD_CHECKPOINTS = {
    "no config": lambda c: (c / "config.json").unlink(),
    "config is no JSON": lambda c: (c / "config.json").write_text("{"),
    "config is another thing": lambda c: (c / "config.json").write_text("[]"),
    "config lacks a key": lambda c: edit(c, "quantize_position", None),
    "other shapes": lambda c: edit(c, "d_model", 64),
    "more layers than there are weights of": lambda c: edit(c, "quantize_position", 9),
    "another kind of pooling": lambda c: edit(c, "pooling_type", "max"),
    "no weights": lambda c: (c / "model.safetensors").unlink(),
    "weights are cut off": lambda c: (c / "model.safetensors").write_bytes(b"abc"),
    "no preprocessor": lambda c: (c / "preprocessor_config.json").unlink(),
}


def edit(checkpoint, key, value):
    path = checkpoint / "config.json"
    config = orjson.loads(path.read_bytes()) | {key: value}
    path.write_bytes(orjson.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
def test_a_bad_checkpoint_is_refused_by_name(checkpoint, kind):
    BAD_CHECKPOINTS[kind](checkpoint)
    with pytest.raises(InvalidInput, match=str(checkpoint)):
        SpeechTokenizer.from_pretrained(checkpoint)


@pytest.mark.parametrize("name", ["/nowhere/at/all", "no-such-namespace/no-such-tokenizer"])
def test_a_checkpoint_that_is_nowhere_is_said_to_be_missing(name):
    with pytest.raises(InvalidInput, match=f"no speech tokenizer at {name}: give a folder"):
        SpeechTokenizer.from_pretrained(name)


@pytest.mark.parametrize("device", ["toaster", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(InvalidInput, match=f"no device '{device}' that PyTorch can use here"):
        SpeechTokenizer.from_pretrained(CHECKPOINT, device)


def test_what_is_no_sound_and_a_waveform_without_a_rate_are_refused(tokenizer, tmp_path):
    page = tmp_path / "page.flac"
    page.write_text("<html>")
    with pytest.raises(InvalidInput, match="page.flac is no sound file"):
        tokenizer.encode([FILES[0], page])
    with pytest.raises(InvalidInput, match="nothing.flac is no sound file"):
        tokenizer.encode([tmp_path / "nothing.flac"])
    with pytest.raises(InvalidInput, match="the clip is no sound file"):
        tokenizer.encode([b""])
    with pytest.raises(InvalidInput, match="without its sampling rate"):
        tokenizer.encode([np.zeros(100, dtype=np.float32)])


def test_tokenize_prints_the_tokens_of_each_file_as_json(tmp_path):
    ran = sympatheia("tokenize", "--speech-tokenizer", CHECKPOINT, *FILES)
    assert ran.returncode == 0, ran.stderr
    printed = json.loads(ran.stdout)
    assert list(printed) == [str(path) for path in FILES]
    assert differing(list(printed.values())) == []


def test_tokenize_refuses_in_a_sentence(tmp_path):
    page = tmp_path / "page.wav"
    page.write_text("<html>")
    ran = typed("tokenize", "--speech-tokenizer", CHECKPOINT, page)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "page.wav is no sound file" in ran.stderr
    assert "Traceback" not in ran.stderr
    missing = typed("tokenize", "--speech-tokenizer", CHECKPOINT, tmp_path / "no.wav")
    assert missing.returncode == 2
    assert "no.wav" in missing.stderr


def test_a_file_format_does_not_matter(tokenizer, encoded):
    samples, rate = soundfile.read(FILES[1], dtype="int16")
    wav = io.BytesIO()
    soundfile.write(wav, samples, rate, format="WAV", subtype="PCM_16")
    assert tokenizer.encode([wav.getvalue()]) == encoded[1:2]


def full_above(most):
    """A hook that says the device is full when more segments come together."""

    def hook(_, inputs):
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("no room")

    return hook


def test_segments_that_do_not_fit_together_are_encoded_apart(encoded):
    tokenizer = SpeechTokenizer.from_pretrained(CHECKPOINT)
    tokenizer._encoder.register_forward_pre_hook(full_above(2))
    assert tokenizer.encode(FILES) == encoded


def test_a_device_without_room_for_one_is_named():
    tokenizer = SpeechTokenizer.from_pretrained(CHECKPOINT)
    tokenizer._encoder.register_forward_pre_hook(full_above(0))
    with pytest.raises(SympatheiaError, match="The memory of cpu does not hold one segment"):
        tokenizer.encode(FILES[:1])
