from pathlib import Path

import pytest

from corpus.adapter.tiny import make_base, make_speech_decoder, make_speech_tokenizer


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A base, a speech tokenizer and a speech decoder, tiny and random."""
    folder = tmp_path_factory.mktemp("tiny")
    make_base(folder / "base")
    make_speech_tokenizer(folder / "speech-tokenizer")
    make_speech_decoder(folder / "decoder")
    return folder


@pytest.fixture(scope="session")
def adapter(tiny, tmp_path_factory) -> Path:
    """An adapter of the tiny base, random, so that it changes what is said."""
    import torch
    from peft import LoraConfig, get_peft_model

    from corpus.adapter.model import load_base

    torch.manual_seed(0)
    targets = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]
    lora = LoraConfig(r=4, lora_alpha=64, target_modules=targets, init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(load_base(tiny / "base", dtype=torch.float32), lora).save_pretrained(folder)
    return folder
