"""Checkpoints of the published layout at tiny size, with random weights.

They are there to run everything on a CPU, in the demo and in the tests: a base model with its
tokenizer, and a speech tokenizer. What comes of them means nothing.
"""

from pathlib import Path

import click
import orjson
import torch
from peft import PeftModel
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

from corpus.adapter.model import RANDOM, ChatGLMConfig, ChatGLMForCausalLM, load_base
from corpus.adapter.speech_tokens import SpeechTokenizer, encoder_of
from corpus.adapter.text_tokenizer import PREFIX

CODES = 256
"""Different audio tokens; the published models have 16,384."""
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
        "quantize_vocab_size": 16_384 if published_size else codes,
    }
    (folder / "config.json").write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    torch.manual_seed(seed)
    encoder = encoder_of(folder)
    # Wide enough apart for sounds to fall on different codes.
    torch.nn.init.normal_(encoder.codebook.weight)
    save_file(encoder.state_dict(), folder / "model.safetensors")
    SpeechTokenizer.from_pretrained(folder)


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
    """Write FOLDER/base and FOLDER/speech-tokenizer, both random."""
    make_base(folder / "base")
    make_speech_tokenizer(folder / "speech-tokenizer")
    click.echo(f"{folder} has a base and a speech tokenizer with random weights.", err=True)


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
