"""The speech decoder: the published code's mels and waves, in any company; and its refusals."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from corpus.adapter.decoder import flow as flow_module
from corpus.adapter.decoder.encoder import seen
from corpus.adapter.decoder.flow import Clip
from corpus.adapter.decoder.vocoder import Hum
from corpus.adapter.speech_decoder import SpeechDecoder, _batches
from corpus.adapter.tiny import CODES, make_speech_decoder
from corpus.errors import InvalidInput, SympatheiaError

pytestmark = pytest.mark.usefixtures("one_thread")
CHECKPOINT = Path(__file__).parent / "golden" / "decoder"
EXPECTED = load_file(CHECKPOINT / "expected.safetensors")
FLOW_CASES = sorted({key.split("/")[1] for key in EXPECTED if key.startswith("flow/")})
HIFT_CASES = ["small5", "short7", "frames200", "cache30"]
STATES, MEL, PITCH, SOURCE, WAVE, OWN_WAVE = 1e-5, 1e-4, 2e-3, 1e-5, 1e-4, 5e-2
"""Tolerances; a wave of its own pitch is far from another's, as rounding adds up in the phase."""
BINS, HOP = 80, 256


@pytest.fixture(scope="module")
def decoder():
    return SpeechDecoder.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    make_speech_decoder(folder)
    return SpeechDecoder.from_pretrained(folder)


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def expected(*path):
    """What the published code gave, without the batch of one."""
    return EXPECTED["/".join(path)][0]


def flow_case(decoder, name):
    """Tokens, prompt frames, and noise of a golden case, as the network takes them."""
    said = EXPECTED.get(f"flow/{name}/prompt_token", torch.zeros(1, 0, dtype=torch.int64))[0]
    # One of them has a token of -1, which the published code takes for 0.
    tokens = torch.cat((said, expected("flow", name, "token"))).clamp(min=0)
    prompt = EXPECTED.get(f"flow/{name}/prompt_feat", torch.zeros(1, 0, BINS))[0].T
    return Clip(tokens, decoder._drawn(decoder._frames(len(tokens)))[0], prompt)


def off(found, wanted):
    found, wanted = torch.as_tensor(found), torch.as_tensor(wanted)
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max())


@pytest.mark.parametrize("name", FLOW_CASES)
def test_states_of_tokens_and_speakers_are_the_published(decoder, name):
    flow, clip = decoder._flow, flow_case(decoder, name)
    encoded = flow.encoder(flow.input_embedding(clip.tokens)[None])
    assert off(encoded[0], expected("flow", name, "encoder_out")) < STATES
    speaker = expected("flow", name, "embedding")
    assert off(flow.voice(speaker), expected("flow", name, "spks")) < STATES
    if not speaker.any():
        assert off(flow.voice(None), expected("flow", name, "spks")) < STATES
    if f"flow/{name}/mu" in EXPECTED:
        states = flow.states(clip.tokens, clip.noise.shape[1])
        assert off(states.T, expected("flow", name, "mu")) < STATES


def test_a_token_sees_its_block_and_what_is_before_it():
    assert torch.equal(seen(23, 10), EXPECTED["encoder/block_mask23"].bool())


@pytest.mark.parametrize("name", ["short7", "spk10"])
def test_the_first_directions_of_the_flow_are_the_published(decoder, name):
    clip, flow = flow_case(decoder, name), decoder._flow
    given = flow._given(clip, expected("flow", name, "embedding"))[None]
    for kind, followed in (("cond", given), ("uncond", torch.zeros_like(given))):
        found = flow.decoder.estimator(clip.noise[None], followed, torch.tensor(0.0), None)
        assert off(found[0], expected("flow", name, f"velocity0_{kind}")) < MEL


def odd_clip():
    """Noise, given and direction of an odd number of frames."""
    noise, mu, spks, known, wanted = (
        EXPECTED[f"estimator/odd37/{part}"] for part in ("x", "mu", "spks", "cond", "velocity")
    )
    return noise, torch.cat((mu, spks[:, :, None].expand_as(mu), known), dim=1), wanted


def test_the_direction_of_an_odd_number_of_frames_is_the_published(decoder):
    noise, given, wanted = odd_clip()
    time = EXPECTED["estimator/odd37/t"]
    assert off(decoder._flow.decoder.estimator(noise, given, time, None), wanted) < MEL


def test_what_is_padded_has_no_part_in_a_direction(decoder):
    noise, given, wanted = odd_clip()
    frames = noise.shape[2]
    mask = torch.tensor([1.0] * frames + [0.0] * 24)[None, None]
    padded = (
        torch.cat((part, torch.full((1, part.shape[1], 24), 1e3)), dim=2) for part in (noise, given)
    )
    found = decoder._flow.decoder.estimator(*padded, EXPECTED["estimator/odd37/t"], mask)
    assert off(found[:, :, :frames], wanted) < MEL
    assert not found[:, :, frames:].any()


@pytest.mark.parametrize("name", FLOW_CASES)
def test_every_mel_is_the_published(decoder, name):
    clip, speaker = flow_case(decoder, name), expected("flow", name, "embedding")
    if speaker.any():
        found = decoder._flow([clip], speaker)[0].numpy()
    else:
        said = clip.tokens[: -EXPECTED[f"flow/{name}/token"].shape[1]]
        tokens = expected("flow", name, "token").tolist()
        found = decoder.mel(tokens, noise=clip.noise, prompt_tokens=said, prompt_mel=clip.prompt)
        assert found.dtype == np.float32
        found = np.concatenate((clip.prompt, found), axis=1)
    assert off(found[:, clip.prompt.shape[1] :], expected("flow", name, "mel")) < MEL


def test_every_mel_is_the_published_in_company(decoder):
    names = [name for name in FLOW_CASES if not expected("flow", name, "embedding").any()]
    clips = [flow_case(decoder, name) for name in names]
    assert len({clip.noise.shape[1] for clip in clips}) == len(clips) > 3
    for name, clip, mel in zip(names, clips, decoder._flow(clips), strict=True):
        assert off(mel[:, clip.prompt.shape[1] :], expected("flow", name, "mel")) < MEL, name


def hift_mel(name):
    if f"hift/{name}/mel" in EXPECTED:
        return expected("hift", name, "mel")
    return {
        "short7": expected("flow", "short7", "mel"),
        "frames200": expected("flow", "long60", "mel")[:, :200],
    }[name]


def golden_hum(samples):
    tile = EXPECTED["hift/noise_tile"]
    return Hum(expected("hift", "phases")[:, 0], tile.repeat(1, -(-samples // 4096))[:, :samples])


@pytest.mark.parametrize("name", HIFT_CASES)
def test_pitch_source_and_wave_of_a_mel_are_the_published(decoder, name):
    vocoder, mel = decoder._vocoder, hift_mel(name)
    pitch, source, wave = (expected("hift", name, part) for part in ("f0", "source", "wave"))
    source, hum = source[0], golden_hum(source.shape[1])
    assert off(vocoder.f0_predictor(mel[None])[0], pitch) < PITCH
    hummed = vocoder.m_source(pitch.repeat_interleave(HOP), hum)
    head = HOP if f"hift/{name}/cache_source" in EXPECTED else 0  # another call's, as in a stream
    assert off(hummed[head:], source[head:]) < SOURCE
    assert off(decoder.wave(mel, source=source), wave) < WAVE
    if not head:
        assert off(vocoder(mel, vocoder.source(mel, hum)), wave) < OWN_WAVE


def test_noise_that_is_given_takes_the_place_of_the_drawn(decoder):
    drawn = decoder._drawn(6)[0]
    assert np.array_equal(decoder.mel([5]), decoder.mel([5], noise=drawn.tolist()))
    assert off(decoder.mel([5]), decoder.mel([5], noise=drawn + 0.1)) > 0.01


def test_noise_is_drawn_as_the_published_code_draws_it(decoder):
    mel, source, wave = (expected("token2wav", "seeded7", p) for p in ("mel", "source", "wave"))
    tokens = expected("stream", "token")[:7]
    assert off(decoder.mel(tokens), mel) < MEL
    assert off(decoder.wave(mel, source=source[0]), wave) < WAVE
    hummed = decoder._vocoder.source(mel, decoder._drawn(mel.shape[1])[1])
    assert off(hummed, source[0]) < OWN_WAVE
    assert off(decoder.decode([tokens])[0], wave) < OWN_WAVE


def test_prompts_join_blocks_as_the_published_stream_does(decoder):
    """The fades and the repeated frame are the stream's; every mel comes from tokens and prompt."""
    tokens, overlap = expected("stream", "token"), 34
    fade = torch.from_numpy(np.hamming(2 * overlap)).float()
    made, held, last = [], None, None
    for n, (start, end) in enumerate(pairwise((0, 25, 50, 60))):
        prompt = {"prompt_tokens": tokens[:start], "prompt_mel": torch.cat(made, 1)} if n else {}
        mel = torch.from_numpy(decoder.mel(tokens[start:end], **prompt))
        if n:
            mel[:, :overlap] = mel[:, :overlap] * fade[:overlap] + held * fade[overlap:]
            mel = torch.cat((last, mel), dim=1)
        if end < len(tokens):
            mel, held = mel[:, :-overlap], mel[:, -overlap:]
        last = mel[:, -1:]
        made.append(mel)
        assert off(mel, expected("stream", "b25_25_10", str(n), "mel")) < MEL


@cache
def some_clips():
    draw = np.random.default_rng(0)
    return [draw.integers(0, 128, length) for length in (7, 1, 8, 0, 6, 7)]


@pytest.fixture(scope="module")
def alone(decoder):
    return [decoder.wave(decoder.mel(tokens)) for tokens in some_clips()]


def test_a_clip_sounds_the_same_to_the_bit_in_any_company(decoder, alone):
    clips = some_clips()
    assert all(map(np.array_equal, decoder.decode(clips), alone))
    assert all(map(np.array_equal, decoder.decode(clips[::-1])[::-1], alone))
    assert np.array_equal(decoder.decode([clips[2].tolist()])[0], alone[2])
    assert len({wave.tobytes() for wave in alone}) == len(clips)


@pytest.mark.parametrize(("batch", "most"), [(2, 2), (8, 3)])
def test_clips_decoded_together_sound_as_they_do_alone(decoder, alone, batch, most):
    together = []
    hook = decoder._flow.decoder.estimator.register_forward_pre_hook(
        lambda _, inputs: together.append(len(inputs[0]) // 2)  # with and without guidance
    )
    found = decoder.decode(some_clips(), batch=batch)
    hook.remove()
    assert max(together) == most
    for wave, wanted in zip(found, alone, strict=True):
        assert wave.shape == wanted.shape
        assert not wanted.size or off(wave, wanted) < OWN_WAVE


def test_clips_of_like_length_go_together():
    assert list(_batches([10, 100, 0, 12, 90, 11, 11], 3)) == [[0, 5, 6], [3], [4, 1]]


def test_the_random_numbers_of_the_process_are_left_alone(decoder, alone):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    fresh = SpeechDecoder.from_pretrained(CHECKPOINT)
    assert np.array_equal(fresh.decode(some_clips()[:1])[0], alone[0])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_no_clips_and_clips_without_tokens_have_no_sound(decoder):
    assert decoder.decode([]) == []
    assert [wave.shape for wave in decoder.decode([[], []])] == [(0,), (0,)]
    assert decoder.mel([]).shape == (BINS, 0)
    assert decoder.wave(np.zeros((BINS, 0))).dtype == np.float32


def test_one_token_has_six_frames(decoder):
    wave = decoder.decode([[5]])[0]
    assert (wave.shape, wave.dtype, decoder.sampling_rate) == ((6 * HOP,), np.float32, 22_050)
    assert np.isfinite(wave).all()


def test_a_clip_of_2000_tokens_is_decoded(tiny, monkeypatch):
    monkeypatch.setattr(flow_module, "STEPS", 1)  # frames attend to all frames, which takes long
    wave = tiny.decode([np.arange(2000) % CODES])[0]
    assert wave.shape == (13_781 * HOP,)
    assert np.isfinite(wave).all()
    assert 0 < np.abs(wave).max() <= np.float32(0.99)


@pytest.mark.parametrize(
    ("tokens", "frames"),
    [(1, 6), (25, 172), (64, 441), (2000, 13_781), (3392, 23_372), (3776, 26_018)],
)
def test_frames_are_counted_in_float32(decoder, tokens, frames):
    assert decoder._frames(tokens) == frames


@pytest.mark.parametrize("token", [-1, 128, 2**40])
def test_a_token_out_of_range_is_refused_by_name(decoder, token):
    with pytest.raises(InvalidInput, match=rf"clips\[1\]\[2\] is {token}, and .* are 0 to 127\."):
        decoder.decode([[1], [2, 3, token]])
    with pytest.raises(InvalidInput, match=r"^tokens\[0\] is .*<\|audio_0\|>: take its id away"):
        decoder.mel([token])
    with pytest.raises(InvalidInput, match=r"^prompt_tokens\[0\]"):
        decoder.mel([1], prompt_tokens=[token])


@pytest.mark.parametrize("clip", [5, [[1, 2]], [1.0], "12", [True], [None], [[1], [2, 3]], [2**70]])
def test_a_clip_that_is_no_row_of_integers_is_refused(decoder, clip):
    with pytest.raises(InvalidInput, match=r"clips\[0\] holds no row of integers"):
        decoder.decode([clip])


def test_what_has_another_shape_is_refused_with_the_right_one(decoder):
    with pytest.raises(InvalidInput, match=r"noise has the shape \[80, 7\].*\[80, 6\]"):
        decoder.mel([1], noise=np.zeros((80, 7)))
    for wrong in (np.zeros((5, 80)), np.zeros(80), np.zeros((80, 14))):
        with pytest.raises(InvalidInput, match=r"prompt_mel has .* 2 tokens .* at most 13 frames"):
            decoder.mel([1], prompt_tokens=[2], prompt_mel=wrong)
    with pytest.raises(InvalidInput, match=r"The mel has the shape \[6, 80\]"):
        decoder.wave(np.zeros((6, 80)))
    with pytest.raises(InvalidInput, match=r"source has the shape \[256\]; for 2 .* \[512\]"):
        decoder.wave(np.zeros((80, 2)), source=np.zeros(256))


def full_above(most):
    """A hook that says the device is full when more clips come together."""

    def hook(_, inputs):
        if len(inputs[0]) > 2 * most:  # each with and without guidance
            raise torch.OutOfMemoryError("no room")

    return hook


def test_clips_that_do_not_fit_together_are_decoded_apart(alone):
    crowded = SpeechDecoder.from_pretrained(CHECKPOINT)
    crowded._flow.decoder.estimator.register_forward_pre_hook(full_above(1))
    assert all(map(np.array_equal, crowded.decode(some_clips(), batch=8), alone))


def test_a_device_without_room_for_one_is_named():
    crowded = SpeechDecoder.from_pretrained(CHECKPOINT)
    crowded._flow.decoder.estimator.register_forward_pre_hook(full_above(0))
    with pytest.raises(SympatheiaError, match="The memory of cpu does not hold a clip of 7 tokens"):
        crowded.decode(some_clips()[:1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_makes_the_same_of_tokens(decoder, alone):
    on_gpu = SpeechDecoder.from_pretrained(CHECKPOINT, "cuda:0")
    for tokens, wave, wanted in zip(some_clips(), on_gpu.decode(some_clips()), alone, strict=True):
        assert off(on_gpu.mel(tokens), decoder.mel(tokens)) < MEL if tokens.size else True
        assert off(wave, wanted) < OWN_WAVE if tokens.size else True
