"""Checkpoints of the published layout at tiny size, with random weights.

They are there to run everything on a CPU, in the demo and in the tests: a base model with its
tokenizer, a speech tokenizer, and a speech decoder. What comes of them means nothing.
"""

from pathlib import Path
from typing import Any

import click
import orjson
import torch
from peft import PeftModel
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

from corpus.adapter.chatglm.config import ChatGLMConfig
from corpus.adapter.decoder.config import DecoderConfig
from corpus.adapter.decoder.flow import Flow
from corpus.adapter.decoder.vocoder import Vocoder
from corpus.adapter.model import RANDOM, ChatGLMForCausalLM, load_base
from corpus.adapter.speech_decoder import SpeechDecoder
from corpus.adapter.speech_tokens import SpeechTokenizer, encoder_of
from corpus.adapter.text_tokenizer import PREFIX

CODES = 256
"""Different audio tokens in the tiny models."""
PUBLISHED_CODES = 16_384
PITCH = 150.0
"""Hz, about what a random decoder hears in every mel; by itself it would hear no voice at all."""
SPECIAL = (
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
)


def make_base(folder: Path, seed: int = 0, codes: int = CODES) -> None:
    """Writes a base model of three layers and a byte-level tokenizer with audio tokens."""
    tokenizer = _tokenizer(codes)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = ChatGLMConfig(
        num_layers=3,
        hidden_size=64,
        ffn_hidden_size=96,
        kv_channels=16,
        num_attention_heads=4,
        multi_query_group_num=2,
        padded_vocab_size=-(-len(tokenizer) // 64) * 64,
        seq_length=2048,
        **{RANDOM: True},
    )
    ChatGLMForCausalLM(config).save_pretrained(folder)


def _tokenizer(codes: int) -> PreTrainedTokenizerFast:
    """One token a byte, the special tokens, and `<|audio_N|>` for each code."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({symbol: n for n, symbol in enumerate(alphabet)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens([*SPECIAL, *(f"<|audio_{n}|>" for n in range(codes))])
    prefix = [(name, plain.token_to_id(name)) for name in PREFIX]
    plain.post_processor = processors.TemplateProcessing(f"{' '.join(PREFIX)} $A", None, prefix)
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token=SPECIAL[0], eos_token=SPECIAL[0], padding_side="left"
    )


def make_speech_tokenizer(
    folder: Path, seed: int = 0, codes: int = CODES, *, published_size: bool = False
) -> None:
    """Writes a speech tokenizer of two layers, or of the published size."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "d_model": 1280 if published_size else 32,
        "encoder_attention_heads": 20 if published_size else 4,
        "encoder_ffn_dim": 5120 if published_size else 64,
        "num_mel_bins": 128,
        "max_source_positions": 1500,
        "pooling_kernel_size": 4,
        "pooling_type": "avg",
        "quantize_position": 16 if published_size else 2,
        "quantize_causal_block_size": 200,
        "quantize_vocab_size": PUBLISHED_CODES if published_size else codes,
    }
    (folder / "config.json").write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    torch.manual_seed(seed)
    encoder = encoder_of(folder)
    # Wide enough apart for sounds to fall on different codes.
    torch.nn.init.normal_(encoder.codebook.weight)
    save_file(encoder.state_dict(), folder / "model.safetensors")
    SpeechTokenizer.from_pretrained(folder)


def decoder_config(codes: int = CODES, *, published_size: bool = False) -> dict[str, Any]:
    """What `config.json` of a speech decoder says; sizes are tiny or the published ones."""
    width, bins = 512 if published_size else 32, 80
    encoder = {
        "input_size": width,
        "output_size": width,
        "attention_heads": 8 if published_size else 2,
        "linear_units": 4 * width,
        "num_blocks": 6 if published_size else 1,
        "block_size": 10,
        "normalize_before": True,
        "input_layer": "linear",
        "pos_enc_layer_type": "rel_pos_espnet",
        "selfattention_layer_type": "block_rel_selfattn",
        "use_cnn_module": False,
        "macaron_style": False,
    }
    estimator = {
        "in_channels": 4 * bins,
        "out_channels": bins,
        "channels": [256, 256] if published_size else [16, 16],
        "attention_head_dim": 64 if published_size else 8,
        "num_heads": 8 if published_size else 1,
        "n_blocks": 4 if published_size else 1,
        "num_mid_blocks": 12 if published_size else 1,
        "act_fn": "gelu",
    }
    flow = {
        "input_size": width,
        "output_size": bins,
        "spk_embed_dim": 192,
        "vocab_size": PUBLISHED_CODES if published_size else codes,
        "input_frame_rate": 12.5,
        "encoder": encoder,
        "length_regulator": {"channels": bins, "sampling_ratios": [1, 1, 1, 1]},
        "decoder": {
            "cfm_params": {"solver": "euler", "t_scheduler": "cosine", "inference_cfg_rate": 0.7},
            "estimator": estimator,
        },
    }
    hift = {
        "in_channels": bins,
        "base_channels": 512 if published_size else 16,
        "nb_harmonics": 8,
        "sampling_rate": 22_050,
        "nsf_alpha": 0.1,
        "nsf_sigma": 0.003,
        "nsf_voiced_threshold": 10,
        "upsample_rates": [8, 8],
        "upsample_kernel_sizes": [16, 16],
        "istft_params": {"n_fft": 16, "hop_len": 4},
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5]] * 3,
        "source_resblock_kernel_sizes": [7, 11],
        "source_resblock_dilation_sizes": [[1, 3, 5]] * 2,
        "lrelu_slope": 0.1,
        "audio_limit": 0.99,
        "f0_predictor": {"num_class": 1, "in_channels": bins, "cond_channels": width},
    }
    return {"flow": flow, "hift": hift}


def make_speech_decoder(
    folder: Path, seed: int = 0, codes: int = CODES, *, published_size: bool = False
) -> None:
    """Writes a speech decoder of few layers, or of the published size."""
    folder.mkdir(parents=True, exist_ok=True)
    config = decoder_config(codes, published_size=published_size)
    (folder / "config.json").write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    read = DecoderConfig.model_validate(config)
    torch.manual_seed(seed)
    flow, vocoder = Flow(read.flow), Vocoder(read.hift)
    torch.nn.init.constant_(vocoder.f0_predictor.classifier.bias, PITCH)
    save_file(flow.state_dict(), folder / "flow.safetensors")
    save_file(_directions_and_lengths(vocoder.state_dict()), folder / "hift.safetensors")
    SpeechDecoder.from_pretrained(folder)


def _directions_and_lengths(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a vocoder as the published file holds them, most convolutions in two parts."""
    held = {}
    for name, tensor in weights.items():
        if tensor.ndim == 3 and not name.startswith("source_downs."):
            held[f"{name}_g"] = tensor.norm(dim=(1, 2), keepdim=True)
            held[f"{name}_v"] = tensor
        else:
            held[name] = tensor
    return held


def logits_change(base: Path, adapter: Path) -> float:
    """By how much an adapter, loaded back over its base, changes a logit at most."""
    model = load_base(base, dtype=torch.float32).eval()
    ids = torch.arange(model.config.padded_vocab_size)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        after = PeftModel.from_pretrained(model, adapter).eval()(input_ids=ids).logits
    return float((before - after).abs().max())


@click.group()
def main() -> None:
    """Tiny random checkpoints, for the demo of the adapter."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def make(folder: Path) -> None:
    """Write FOLDER/base, FOLDER/speech-tokenizer and FOLDER/decoder, all random."""
    make_base(folder / "base")
    make_speech_tokenizer(folder / "speech-tokenizer")
    make_speech_decoder(folder / "decoder")
    click.echo(
        f"{folder} has a base, a speech tokenizer and a speech decoder with random weights.",
        err=True,
    )


@main.command()
@click.argument("base", type=click.Path(path_type=Path, exists=True))
@click.argument("adapter", type=click.Path(path_type=Path, exists=True))
def compare(base: Path, adapter: Path) -> None:
    """Load ADAPTER over BASE and say what it changes."""
    click.echo(
        f"{adapter} loads back and changes logits by up to {logits_change(base, adapter):.3f}. Its "
        "base has random weights: it shows that everything runs, and knows nothing."
    )


if __name__ == "__main__":
    main()
