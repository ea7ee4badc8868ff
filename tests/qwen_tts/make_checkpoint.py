"""Makes a Qwen3-TTS model folder with random weights, which the real package loads and speaks with.

    python -m tests.qwen_tts.make_checkpoint FOLDER [--full]

Run in the environment of `make setup-qwen-tts`. The small one (10 MB) hums and ends its clips by
chance: half of them within 1.5 seconds, one in ten not within five. The full one has the shapes of
the published 1.7B model, for measuring its speed; it never ends a clip by itself.
"""

import json
import sys
from pathlib import Path
from typing import Any

from corpus.voices.qwen_model import import_package

import_package()

import torch
from qwen_tts.core import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import EncodecFeatureExtractor, Qwen2TokenizerFast

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_bos>", "<tts_eos>")
SPEAKERS = {"ryan": 3061, "vivian": 3065, "eric": 2875}
LANGUAGES = {"english": 2050, "chinese": 2055, "sichuan_dialect": 2062}
GROUPS = 16
EOS = 2150
STEADY, END_LOGIT = 4.0, 0.64
"""One channel of the small one has the same value in every frame; times this it is the end's chance
against 50 others, found by trying."""
LOUD = 0.1

Shapes = dict[str, Any]
SMALL: dict[str, Shapes] = {
    "talker": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "text_hidden_size": 64,
        "text_vocab_size": 512,
        "rope_scaling": {"interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"},
    },
    "predictor": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
    },
    "decoder": {
        "hidden_size": 32,
        "latent_dim": 32,
        "codebook_dim": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "decoder_dim": 64,
    },
}
FULL: dict[str, Shapes] = {
    "talker": {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "text_hidden_size": 2048,
        "text_vocab_size": 151936,
        "rope_scaling": {
            "interleaved": True,
            "mrope_section": [24, 20, 20],
            "rope_type": "default",
        },
    },
    "predictor": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 5,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "decoder": {"hidden_size": 512, "latent_dim": 1024, "codebook_dim": 512, "head_dim": 64},
}
# The part of the codec that hears is loaded with it and never used here.
ENCODER: Shapes = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_filters": 4,
    "codebook_size": 64,
    "codebook_dim": 16,
    "vector_quantization_hidden_dimension": 16,
    "num_quantizers": GROUPS,
    "upsample_groups": 32,
}


def main(folder: Path, *, full: bool) -> None:
    """Writes the model folder."""
    torch.manual_seed(0)
    shapes = FULL if full else SMALL
    ids = write_text_tokenizer(folder)
    write_talker(folder, shapes, ids, end_logit=0.0 if full else END_LOGIT)
    write_codec(folder / "speech_tokenizer", shapes["decoder"])


def write_text_tokenizer(folder: Path) -> dict[str, int]:
    """A byte-level tokenizer; gives the ids of its control tokens.

    Only the two roles of the prompt are words of their own: the package counts on that.
    """
    vocabulary = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in ("assistant", "user"):
        for end in range(1, len(word)):
            merges.append((word[:end], word[end]))
            vocabulary.setdefault(word[: end + 1], len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in CONTROL])
    fast = Qwen2TokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.save_pretrained(folder)
    return {token: fast.convert_tokens_to_ids(token) for token in CONTROL}


def write_talker(
    folder: Path, shapes: dict[str, Shapes], ids: dict[str, int], *, end_logit: float
) -> None:
    """The network that turns text into frames of codes, in bfloat16 as the published one."""
    config = Qwen3TTSConfig(
        talker_config={
            **shapes["talker"],
            "vocab_size": 3072,
            "num_code_groups": GROUPS,
            "initializer_range": 0.1,
            "rope_theta": 1_000_000,
            "codec_pad_id": 2148,
            "codec_bos_id": 2149,
            "codec_eos_token_id": EOS,
            "codec_think_id": 2154,
            "codec_nothink_id": 2155,
            "codec_think_bos_id": 2156,
            "codec_think_eos_id": 2157,
            "codec_language_id": LANGUAGES,
            "spk_id": SPEAKERS,
            "spk_is_dialect": {"ryan": False, "vivian": False, "eric": "sichuan_dialect"},
            "code_predictor_config": {
                **shapes["predictor"],
                "vocab_size": 2048,
                "num_code_groups": GROUPS,
                "rope_theta": 1_000_000,
            },
        },
        tokenizer_type="qwen3_tts_tokenizer_12hz",
        tts_model_size="1b7",
        tts_model_type="custom_voice",
        im_start_token_id=ids["<|im_start|>"],
        im_end_token_id=ids["<|im_end|>"],
        tts_pad_token_id=ids["<tts_pad>"],
        tts_bos_token_id=ids["<tts_bos>"],
        tts_eos_token_id=ids["<tts_eos>"],
    )
    torch.set_default_dtype(torch.bfloat16)
    model = Qwen3TTSForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        if end_logit:
            _make_it_end(model.talker, end_logit)
        else:
            model.talker.codec_head.weight[EOS] = 0.0
    model.save_pretrained(folder)
    # The package does not read what it writes here; the published files hold no more than this.
    saved = json.loads((folder / "config.json").read_text())
    saved["speaker_encoder_config"] = {"enc_dim": 1024, "sample_rate": 24_000}
    (folder / "config.json").write_text(json.dumps(saved, indent=2))
    generation = {"do_sample": True, "top_k": 50, "temperature": 0.9, "max_new_tokens": 64}
    if not end_logit:
        generation["max_new_tokens"] = 2048
    (folder / "generation_config.json").write_text(json.dumps(generation))


def _make_it_end(talker: Any, end_logit: float) -> None:
    """Gives the end the same chance in every frame, by one channel that is the same in all."""
    talker.model.text_embedding.weight *= 5  # else a changed word is lost among the others
    talker.model.codec_embedding.weight[:, 0] = STEADY
    talker.codec_head.weight[:, 0] = 0.0
    talker.codec_head.weight[EOS] = 0.0
    talker.codec_head.weight[EOS, 0] = end_logit


def write_codec(folder: Path, decoder: Shapes) -> None:
    """The network that turns frames of codes into sound, 1920 samples each."""
    config = Qwen3TTSTokenizerV2Config(
        encoder_config=ENCODER,
        decoder_config={"num_quantizers": GROUPS, "codebook_size": 2048, **decoder},
        encoder_valid_num_quantizers=GROUPS,
    )
    model = Qwen3TTSTokenizerV2Model(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("embedding_sum"):  # zeros otherwise, and so all codes alike
                weight.normal_()
        last = model.decoder.decoder[-1].conv
        sound = model.decoder(torch.randint(2048, (1, GROUPS, 50)))
        last.weight *= LOUD / sound.std()
    model.save_pretrained(folder)
    EncodecFeatureExtractor(sampling_rate=24_000).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), full="--full" in sys.argv[2:])
