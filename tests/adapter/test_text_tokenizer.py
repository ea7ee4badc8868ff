"""The published kind of text tokenizer: a tiktoken vocabulary and numbered special tokens."""

import json
from base64 import b64encode

import pytest

from corpus.adapter.text_tokenizer import load_tokenizer
from corpus.errors import InvalidInput

MERGED = (b"he", b"ll", b"hell", b"hello", b" w", b"or", b" wor", b"ld", b" world")
SPECIAL = {
    265: "<|endoftext|>",
    266: "[gMASK]",
    267: "<sop>",
    268: "<|user|>",
    269: "<|assistant|>",
    300: "<|audio_0|>",
    301: "<|audio_1|>",
}


@pytest.fixture
def folder(tmp_path):
    tokens = [bytes([n]) for n in range(256)] + list(MERGED)
    lines = [b64encode(token) + f" {rank}\n".encode() for rank, token in enumerate(tokens)]
    (tmp_path / "tokenizer.model").write_bytes(b"".join(lines))
    config = {"added_tokens_decoder": {str(n): {"content": name} for n, name in SPECIAL.items()}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def test_words_are_merged_by_rank_and_special_tokens_have_their_numbers(folder):
    tokenizer = load_tokenizer(folder)
    hello, world = (256 + MERGED.index(token) for token in (b"hello", b" world"))
    ids = tokenizer("<|user|>\n<|audio_1|>hello world\u00e9<|user|>")["input_ids"]
    accent = list("\u00e9".encode())
    assert ids == [266, 267, 268, ord("\n"), 301, hello, world, *accent, 268]
    assert tokenizer.convert_tokens_to_ids("<|audio_0|>") == 300
    assert tokenizer.decode(ids[2:]) == "<|user|>\n<|audio_1|>hello world\u00e9<|user|>"
    assert len(tokenizer) == 302


def test_one_that_was_saved_is_read_as_it_is(folder, tmp_path):
    saved = tmp_path / "saved"
    load_tokenizer(folder).save_pretrained(saved)
    text = "<|assistant|>hello<|audio_0|>"
    assert load_tokenizer(saved)(text)["input_ids"] == load_tokenizer(folder)(text)["input_ids"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "tokenizer.model").unlink(),
        lambda folder: (folder / "tokenizer_config.json").write_text("{}"),
        lambda folder: (folder / "tokenizer.model").write_text("<html>\n"),
        lambda folder: (folder / "tokenizer_config.json").write_text(
            '{"added_tokens_decoder": {"3": {"content": "<|user|>"}}}'
        ),
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
    ],
)
def test_one_that_is_damaged_is_refused_with_a_sentence(folder, damage):
    damage(folder)
    with pytest.raises(InvalidInput, match="has no text tokenizer that can be loaded"):
        load_tokenizer(folder)
