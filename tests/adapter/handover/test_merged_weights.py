"""Base and adapter as one model: what both say together, in a folder that engines take."""

import json

import pytest
import torch

from corpus.adapter.handover.merged_weights import merge
from corpus.adapter.model import ChatGLMForCausalLM, load_base
from corpus.adapter.text_tokenizer import load_tokenizer
from corpus.adapter.tiny import make_base
from corpus.errors import InvalidInput
from tests.adapter.test_model import ADAPTER, BASE, expected, ids, largest_difference
from tests.support.line import typed

__all__ = ["expected", "ids"]  # fixtures


@torch.no_grad()
def test_the_merged_model_gives_the_golden_logits_of_the_two(expected, ids, tmp_path):
    merge(ADAPTER, tmp_path / "merged", str(BASE))
    logits = load_base(tmp_path / "merged", dtype=torch.float32).eval()(input_ids=ids).logits
    assert largest_difference(logits, expected["logits_with_adapter"]) < 1e-4


def test_engines_find_what_they_ask_for(tmp_path):
    make_base(tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    assert config["architectures"] == ["ChatGLMModel"]
    assert config["multi_query_attention"] is config["original_rope"] is True
    assert config["add_bias_linear"] is False
    assert load_tokenizer(tmp_path / "base")


def test_merging_as_a_command(tmp_path):
    output = tmp_path / "merged"
    done = typed("convert-adapter", ADAPTER, output, "--base", BASE, "--merge")
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    assert load_base(output)


def test_another_base_is_refused(tmp_path):
    wide = load_base(BASE).config
    wide.ffn_hidden_size *= 2
    ChatGLMForCausalLM(wide).save_pretrained(tmp_path / "base")
    with pytest.raises(InvalidInput, match="no adapter that fits"):
        merge(ADAPTER, tmp_path / "merged", str(tmp_path / "base"))
    with pytest.raises(InvalidInput, match="Give another folder"):
        merge(ADAPTER, ADAPTER, str(BASE))
