"""Conversion to transformers' own names: the same logits from another implementation."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import GlmConfig, GlmForCausalLM

from corpus.adapter.handover.native_names import read_base_config, to_native
from corpus.adapter.model import load_base
from corpus.errors import InvalidInput
from tests.adapter.test_model import ADAPTER, BASE, expected, ids, largest_difference
from tests.support.line import sympatheia, typed

__all__ = ["expected", "ids"]  # fixtures


def native_base() -> GlmForCausalLM:
    """The golden base in transformers' implementation, its weights renamed and split."""
    config = json.loads((BASE / "config.json").read_text())
    model = GlmForCausalLM(
        GlmConfig(
            vocab_size=config["padded_vocab_size"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["ffn_hidden_size"],
            num_hidden_layers=config["num_layers"],
            num_attention_heads=config["num_attention_heads"],
            num_key_value_heads=config["multi_query_group_num"],
            head_dim=config["kv_channels"],
            rms_norm_eps=config["layernorm_epsilon"],
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10_000.0 * config["rope_ratio"],
                "partial_rotary_factor": 0.5,
            },
            pad_token_id=config["pad_token_id"],
            eos_token_id=config["eos_token_id"],
        )
    )
    weights = {}
    queries = config["num_attention_heads"] * config["kv_channels"]
    keys = config["multi_query_group_num"] * config["kv_channels"]
    for name, weight in load_file(BASE / "model.safetensors").items():
        for old, new in (
            ("transformer.output_layer", "lm_head"),
            ("transformer.embedding.word_embeddings", "model.embed_tokens"),
            ("transformer.encoder.final_layernorm", "model.norm"),
            ("transformer.encoder", "model"),
            ("self_attention", "self_attn"),
            ("self_attn.dense", "self_attn.o_proj"),
            ("dense_h_to_4h", "gate_up_proj"),
            ("dense_4h_to_h", "down_proj"),
        ):
            name = name.replace(old, new)
        if "inv_freq" in name:
            continue
        if "query_key_value" not in name:
            weights[name] = weight
            continue
        for part, rows in zip("qkv", weight.split([queries, keys, keys]), strict=True):
            weights[name.replace("query_key_value", f"{part}_proj")] = rows
    model.load_state_dict(weights)
    return model.eval()


@pytest.fixture
def adapter(tmp_path) -> Path:
    return Path(shutil.copytree(ADAPTER, tmp_path / "adapter"))


@pytest.fixture(scope="module")
def base_config():
    return read_base_config(BASE)


@torch.no_grad()
def test_the_native_base_gives_the_golden_logits(ids, expected):
    assert largest_difference(native_base()(input_ids=ids).logits, expected["logits"]) < 1e-4


@torch.no_grad()
def test_a_converted_adapter_gives_the_golden_logits(ids, expected, base_config, tmp_path):
    to_native(ADAPTER, tmp_path, base_config)
    adapted = PeftModel.from_pretrained(native_base(), tmp_path).eval()
    logits = adapted(input_ids=ids).logits
    assert largest_difference(logits, expected["logits_with_adapter"]) < 1e-4
    assert largest_difference(logits, expected["logits"]) > 1e-2


def test_the_names_are_the_native_ones_at_the_same_rank(base_config, tmp_path):
    to_native(ADAPTER, tmp_path, base_config)
    config, old = PeftConfig.from_pretrained(tmp_path), PeftConfig.from_pretrained(ADAPTER)
    names = ["down_proj", "gate_up_proj", "k_proj", "o_proj", "q_proj", "v_proj"]
    assert sorted(config.target_modules) == names
    assert (config.r, config.lora_alpha, config.task_type) == (old.r, old.lora_alpha, "CAUSAL_LM")
    assert {path.name for path in tmp_path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def test_the_updates_are_the_same_to_the_bit(base_config, tmp_path):
    to_native(ADAPTER, tmp_path, base_config)
    fused, native = (
        load_file(folder / "adapter_model.safetensors") for folder in (ADAPTER, tmp_path)
    )

    def update(weights: dict[str, torch.Tensor], place: str) -> torch.Tensor:
        name = f"base_model.model.{place}.lora"
        return weights[f"{name}_B.weight"] @ weights[f"{name}_A.weight"]

    whole = update(fused, "transformer.encoder.layers.1.self_attention.query_key_value")
    parts = [update(native, f"model.layers.1.self_attn.{part}_proj") for part in "qkv"]
    assert torch.equal(torch.cat(parts), whole)
    assert len(native) == len(fused) // 4 * 6


def test_converting_again_gives_the_same_files(base_config, tmp_path):
    for name in ("one", "other"):
        to_native(ADAPTER, tmp_path / name, base_config)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_an_adapter_over_some_of_the_names(ids, base_config, adapter, tmp_path):
    path = adapter / "adapter_model.safetensors"
    weights = {name: w for name, w in load_file(path).items() if "query_key_value" in name}
    save_file(weights, path, metadata={"format": "pt"})
    change_config(adapter, target_modules=["query_key_value"])
    to_native(adapter, tmp_path / "native", base_config)
    with torch.no_grad():
        native = PeftModel.from_pretrained(native_base(), tmp_path / "native").eval()
        own = PeftModel.from_pretrained(load_base(BASE, dtype=torch.float32), adapter).eval()
        logits = [model(input_ids=ids).logits for model in (native, own)]
    assert largest_difference(*logits) < 1e-4


# What cannot be converted


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(adapter: Path, output: Path, config) -> str:
    with pytest.raises(InvalidInput) as caught:
        to_native(adapter, output, config)
    assert not (output / "adapter_model.safetensors").exists() or output == adapter
    return str(caught.value)


def test_an_adapter_for_another_base_is_refused(base_config, tmp_path):
    config = type(base_config)(**base_config.to_dict() | {"multi_query_group_num": 4})
    assert "128 rows, the base's 192" in refused(ADAPTER, tmp_path, config)


def test_an_adapter_is_not_written_over(base_config, adapter):
    before = (adapter / "adapter_config.json").read_bytes()
    assert "another folder" in refused(adapter, adapter, base_config)
    assert (adapter / "adapter_config.json").read_bytes() == before


def test_a_pattern_of_scales_is_refused(base_config, adapter, tmp_path):
    change_config(adapter, alpha_pattern={"dense": 8})
    assert "alpha_pattern" in refused(adapter, tmp_path / "out", base_config)


def test_what_is_native_already_is_refused(base_config, tmp_path):
    to_native(ADAPTER, tmp_path / "native", base_config)
    assert "can be converted" in refused(tmp_path / "native", tmp_path / "again", base_config)


def test_another_base_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="names no model"):
        read_base_config(tmp_path)
    with pytest.raises(InvalidInput, match="no configuration"):
        read_base_config(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InvalidInput, match="names llama"):
        read_base_config(tmp_path)


def test_convert_as_a_command(adapter, tmp_path):
    native = tmp_path / "native"
    # An adapter, and a run that has one.
    for command, folder in ((sympatheia, adapter), (typed, adapter.parent)):
        run = command("convert-adapter", folder, native, "--base", BASE)
        assert (run.returncode, run.stdout) == (0, f"{native}\n"), run.stderr
        assert (native / "adapter_model.safetensors").is_file()
    run = typed("convert-adapter", adapter, native, "--base", tmp_path)
    assert run.returncode == 2
    assert run.stderr == (
        f"Error: {tmp_path} is not a GLM-4-Voice model: its configuration names no model.\n"
    )
