"""A decoder's files: the published ones and ours say the same, and nothing in them is run."""

import ast
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import load_file, save_file

from corpus.adapter.decoder.config import DecoderConfig, read_config
from corpus.adapter.decoder.flow import Flow
from corpus.adapter.decoder.vocoder import Vocoder
from corpus.adapter.speech_decoder import SpeechDecoder
from corpus.adapter.speech_tokens import SpeechTokenizer
from corpus.adapter.text_tokenizer import load_tokenizer
from corpus.adapter.tiny import (
    decoder_config,
    make_base,
    make_speech_decoder,
    make_speech_tokenizer,
)
from corpus.errors import InvalidInput

pytestmark = pytest.mark.usefixtures("one_thread")
CHECKPOINT = Path(__file__).parent / "golden" / "decoder"
TAGGED = """
__seed: !apply:os.system ["touch RAN"]
rate: 22050
spk_embed_dim: 192
sizes:
    heads: 4
llm: !new:cosyvoice.llm.llm.TransformerLM
    text_encoder: !new:os.system
        command: touch RAN
sampling: !name:os.system
    command: touch RAN
flow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec
    input_size: 32
    output_size: 80
    spk_embed_dim: !ref <spk_embed_dim>
    output_type: 'mel'
    vocab_size: 128
    input_frame_rate: 12.5
    only_mask_loss: True
    encoder: !new:cosyvoice.transformer.encoder.BlockConformerEncoder
        output_size: 32
        attention_heads: !ref <sizes[heads]>
        linear_units: 64
        num_blocks: 2
        dropout_rate: 0.1
        normalize_before: True
        input_layer: 'linear'
        pos_enc_layer_type: 'rel_pos_espnet'
        selfattention_layer_type: 'block_rel_selfattn'
        block_size: 10
        input_size: 32
        use_cnn_module: False
        macaron_style: False
    length_regulator: !new:cosyvoice.flow.length_regulator.InterpolateRegulator
        channels: 80
        sampling_ratios: [1, 1, 1, 1]
    decoder: !new:cosyvoice.flow.flow_matching.ConditionalCFM
        in_channels: 240
        cfm_params: !new:omegaconf.DictConfig
            content:
                sigma_min: 1e-06
                solver: 'euler'
                t_scheduler: 'cosine'
                inference_cfg_rate: 0.7
        estimator: !new:cosyvoice.flow.decoder.ConditionalDecoder
            in_channels: 320
            out_channels: 80
            channels: [32, 32]
            attention_head_dim: 8
            n_blocks: 2
            num_mid_blocks: 2
            num_heads: 2
            act_fn: 'gelu'
hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
    in_channels: 80
    base_channels: 32
    nb_harmonics: 8
    sampling_rate: !ref <rate>
    nsf_alpha: 0.1
    nsf_sigma: 0.003
    nsf_voiced_threshold: 10
    upsample_rates: [8, 8]
    upsample_kernel_sizes: [16, 16]
    istft_params:
        n_fft: 16
        hop_len: 4
    resblock_kernel_sizes: [3, 7, 11]
    resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
    source_resblock_kernel_sizes: [7, 11]
    source_resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5]]
    lrelu_slope: 0.1
    audio_limit: 0.99
    f0_predictor: !new:cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor
        num_class: 1
        in_channels: 80
        cond_channels: 32
"""


@pytest.fixture
def checkpoint(tmp_path):
    """The golden checkpoint, to change."""
    folder = tmp_path / "decoder"
    folder.mkdir()
    for name in ("config.json", "flow.safetensors", "hift.safetensors"):
        shutil.copy(CHECKPOINT / name, folder)
    return folder


def as_published(folder):
    """A checkpoint with the files that the published one has."""
    (folder / "config.json").unlink()
    (folder / "config.yaml").write_text(TAGGED)
    for name in ("flow", "hift"):
        file = folder / f"{name}.safetensors"
        torch.save(load_file(file), folder / f"{name}.pt")
        file.unlink()


def test_the_published_files_say_what_ours_say(checkpoint):
    ours = SpeechDecoder.from_pretrained(checkpoint)
    tokens, digest = [1, 2, 3], ours.digest
    as_published(checkpoint)
    published = SpeechDecoder.from_pretrained(checkpoint)
    assert np.array_equal(published.decode([tokens])[0], ours.decode([tokens])[0])
    assert len(published.digest) == 64
    assert published.digest != digest


def test_tags_are_read_as_data_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(TAGGED)
    config, path = read_config(tmp_path)
    assert config == read_config(CHECKPOINT)[0]
    assert path.name == "config.yaml"
    assert not Path("RAN").exists()


class _Runs:
    """Pickled, this runs a command when it is read."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def plain_pickle(thing, path):
    path.write_bytes(pickle.dumps(thing, protocol=2))


@pytest.mark.parametrize("write", [torch.save, plain_pickle])
def test_a_pickle_that_is_more_than_tensors_is_refused_unread(checkpoint, write):
    as_published(checkpoint)
    ran = checkpoint / "ran"
    write({"input_embedding.weight": _Runs(f"touch {ran}")}, checkpoint / "flow.pt")
    with pytest.raises(InvalidInput, match=r"flow\.pt holds more than tensors"):
        SpeechDecoder.from_pretrained(checkpoint)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["flow", "hift"])
def test_names_and_shapes_are_those_of_the_published_files(name):
    config = DecoderConfig.model_validate(decoder_config(published_size=True))
    with torch.device("meta"):
        network = {"flow": lambda: Flow(config.flow), "hift": lambda: Vocoder(config.hift)}[name]()
    published = {}
    for line in (CHECKPOINT / f"keys-{name}.tsv").read_text().splitlines():
        key, shape, _ = line.split("\t")
        if not key.endswith(".weight_g"):
            published[key.replace(".weight_v", ".weight")] = ast.literal_eval(shape)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == published


def edit(folder, place, value):
    """Sets a key of config.json, by its dotted name; None takes it out."""
    path = folder / "config.json"
    config = part = orjson.loads(path.read_bytes())
    *above, key = place.split(".")
    for name in above:
        part = part[name]
    part[key] = value
    if value is None:
        del part[key]
    path.write_bytes(orjson.dumps(config))


def reweigh(folder, name, change):
    """Changes the weights of a file in place."""
    weights = load_file(folder / name)
    change(weights)
    save_file(weights, folder / name)


def in_pt(folder, write):
    (folder / "flow.safetensors").unlink()
    write(folder / "flow.pt")


def in_yaml(folder, text):
    (folder / "config.yaml").write_text(text)


POST = "conv_post.weight"
BAD_CHECKPOINTS = {
    "no config": (
        lambda c: (c / "config.json").unlink(),
        r"has no config.yaml or config.json. Give the folder of THUDM/glm-4-voice-decoder",
    ),
    "no flow": (
        lambda c: (c / "flow.safetensors").unlink(),
        r"has no flow.pt and no flow.safetensors. Give the folder of",
    ),
    "no vocoder": (lambda c: (c / "hift.safetensors").unlink(), "has no hift.pt"),
    "config is no JSON": (lambda c: (c / "config.json").write_text("{"), "config.json describes"),
    "config is a list": (lambda c: (c / "config.json").write_text("[]"), "it holds no keys"),
    "no flow in config": (
        lambda c: edit(c, "flow", None),
        "flow: Field required. Give the folder of THUDM/glm-4-voice-decoder",
    ),
    "no size": (
        lambda c: edit(c, "flow.decoder.estimator.n_blocks", None),
        r"flow.decoder.estimator.n_blocks: Field required",
    ),
    "size is no number": (
        lambda c: edit(c, "hift.base_channels", "many"),
        "hift.base_channels: Input should be a valid integer.*'many'",
    ),
    "another attention": (
        lambda c: edit(c, "flow.encoder.selfattention_layer_type", "rel_selfattn"),
        "selfattention_layer_type: Input should be 'block_rel_selfattn', not 'rel_selfattn'",
    ),
    "heads that do not fit": (
        lambda c: edit(c, "flow.encoder.attention_heads", 3),
        "flow.encoder: Value error, 3 heads do not share 32",
    ),
    "levels of two widths": (
        lambda c: edit(c, "flow.decoder.estimator.channels", [32, 64]),
        "channels are to be two equal numbers",
    ),
    "another mel": (lambda c: edit(c, "hift.in_channels", 100), "f0_predictor's differ"),
    "input of another width": (
        lambda c: edit(c, "flow.decoder.estimator.in_channels", 240),
        "in_channels is to be four times output_size",
    ),
    "embedding of another width": (
        lambda c: edit(c, "flow.input_size", 64),
        "encoder.input_size is to be input_size",
    ),
    "regulator of another width": (
        lambda c: edit(c, "flow.length_regulator.channels", 40),
        "are to be output_size",
    ),
    "stages without blocks": (
        lambda c: edit(c, "hift.source_resblock_kernel_sizes", [7]),
        "not as long as it",
    ),
    "blocks without dilations": (
        lambda c: edit(c, "hift.resblock_kernel_sizes", [3, 7]),
        "resblock_dilation_sizes are not as long",
    ),
    "too many stages": (
        lambda c: edit(c, "hift.base_channels", 33),
        "base_channels cannot be halved 2 times",
    ),
    "YAML that makes objects": (
        lambda c: in_yaml(c, "flow: !!python/object/apply:os.getcwd []"),
        "config.yaml describes no speech decoder of this kind: could not determine a constructor",
    ),
    "YAML that is none": (
        lambda c: in_yaml(c, "flow: ["),
        "config.yaml describes no speech decoder",
    ),
    "a reference to itself": (
        lambda c: in_yaml(c, "flow: !ref <other>\nother: !ref <flow>"),
        "refers back to itself",
    ),
    "a list in itself": (lambda c: in_yaml(c, "flow: &a [*a]"), "refers back to itself"),
    "a reference to nothing": (
        lambda c: in_yaml(c, TAGGED.replace("spk_embed_dim: 192", "")),
        "flow.spk_embed_dim: Input should be a valid integer.*'<spk_embed_dim>'",
    ),
    "weights are cut off": (
        lambda c: (c / "flow.safetensors").write_bytes(b"abc"),
        "flow.safetensors cannot be read .* Fetch it anew",
    ),
    "a weight is missing": (
        lambda c: reweigh(c, "flow.safetensors", lambda w: w.pop("encoder_proj.bias")),
        r"flow.safetensors lacks 'encoder_proj.bias', which config.json .* shape \(80,\)",
    ),
    "a weight has another shape": (
        lambda c: edit(c, "flow.vocab_size", 256),
        r"holds 'input_embedding.weight' in the shape \(128, 32\), but .* \(256, 32\)",
    ),
    "more layers than are configured": (
        lambda c: edit(c, "flow.encoder.num_blocks", 1),
        r"holds 'encoder.encoders.1.\S+', which a decoder of config.json does not have",
    ),
    "a direction without length": (
        lambda c: reweigh(c, "hift.safetensors", lambda w: w.pop(f"{POST}_g")),
        rf"hift.safetensors lacks '{POST}_g' in the shape \(18, 1, 1\)",
    ),
    "a length without direction": (
        lambda c: reweigh(c, "hift.safetensors", lambda w: w.pop(f"{POST}_v")),
        f"hift.safetensors lacks '{POST}_v'",
    ),
    "a list of weights": (
        lambda c: in_pt(c, lambda path: torch.save([torch.zeros(1)], path)),
        r"flow.pt holds no weights by name",
    ),
    "weights by number": (
        lambda c: in_pt(c, lambda path: torch.save({1: torch.ones(1)}, path)),
        r"flow.pt holds no weights by name",
    ),
    "a file of PyTorch's with an end of nothing": (
        lambda c: in_pt(c, lambda path: path.write_bytes(b".")),
        r"flow.pt cannot be read \(IndexError",
    ),
    "an empty file of PyTorch's": (
        lambda c: in_pt(c, lambda path: path.touch()),
        r"flow.pt cannot be read",
    ),
    "a page for a file of PyTorch's": (
        lambda c: in_pt(c, lambda path: path.write_text("<html>")),
        r"flow.pt holds more than tensors, or is no file of PyTorch's",
    ),
}


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
def test_a_bad_checkpoint_is_refused_by_name(checkpoint, kind):
    spoil, sentence = BAD_CHECKPOINTS[kind]
    spoil(checkpoint)
    with pytest.raises(InvalidInput, match=sentence) as refused:
        SpeechDecoder.from_pretrained(checkpoint)
    assert str(checkpoint) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["/nowhere/at/all", "no-such-namespace/no-such-decoder"])
def test_a_checkpoint_that_is_nowhere_is_said_to_be_missing(name):
    with pytest.raises(InvalidInput, match=f"no speech decoder at {name}: give a folder"):
        SpeechDecoder.from_pretrained(name)


@pytest.mark.parametrize("device", ["toaster", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(InvalidInput, match=f"no device '{device}' that PyTorch can use here"):
        SpeechDecoder.from_pretrained(CHECKPOINT, device)


def test_the_tiny_checkpoints_fit_each_other(tmp_path):
    make_base(tmp_path / "base")
    make_speech_tokenizer(tmp_path / "speech-tokenizer")
    make_speech_decoder(tmp_path / "decoder")
    decoder = SpeechDecoder.from_pretrained(tmp_path / "decoder")
    tokenizer = SpeechTokenizer.from_pretrained(tmp_path / "speech-tokenizer")
    said = load_tokenizer(tmp_path / "base").get_vocab()
    assert decoder.codes == tokenizer.codes == sum("<|audio_" in token for token in said)
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    [tokens] = tokenizer.encode([sound], sampling_rate=16_000)
    [wave] = decoder.decode([tokens])
    assert len(wave) / decoder.sampling_rate == pytest.approx(1.04, abs=0.02)
