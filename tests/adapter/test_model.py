"""The base model against the outputs of the published code, and what training asks of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from corpus.adapter import model as model_module
from corpus.adapter.model import IGNORED, ChatGLMForCausalLM, load_base
from corpus.errors import InvalidInput

GOLDEN = Path(__file__).with_name("golden") / "glm"
BASE, ADAPTER = GOLDEN / "base", GOLDEN / "adapter"
TARGETS = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / "expected.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def ids(expected) -> torch.Tensor:
    return expected["input_ids"].long()


@pytest.fixture
def base() -> ChatGLMForCausalLM:
    return load_base(BASE, dtype=torch.float32).eval()


def largest_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    assert one.shape == other.shape
    return (one - other).abs().max().item()


# The golden outputs


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_are_those_of_the_published_code(base, ids, expected, attention):
    base.set_attn_implementation(attention)
    assert base.config._attn_implementation == attention
    assert largest_difference(base(input_ids=ids).logits, expected["logits"]) < 1e-4


@torch.no_grad()
def test_logits_with_an_adapter_are_those_of_the_published_code(base, ids, expected):
    adapted = PeftModel.from_pretrained(base, ADAPTER).eval()
    logits = adapted(input_ids=ids).logits
    assert largest_difference(logits, expected["logits_with_adapter"]) < 1e-4
    assert largest_difference(expected["logits"], expected["logits_with_adapter"]) > 1e-2


@torch.no_grad()
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_logits_of_a_gpu_are_those_of_the_published_code(base, ids, expected):
    adapted = PeftModel.from_pretrained(base, ADAPTER).eval().cuda()
    logits = adapted(input_ids=ids.cuda()).logits.cpu()
    assert largest_difference(logits, expected["logits_with_adapter"]) < 1e-3


def test_an_adapter_made_here_has_the_published_names_and_shapes(base):
    config = LoraConfig(r=4, lora_alpha=4, target_modules=TARGETS, task_type="CAUSAL_LM")
    made = get_peft_model_state_dict(get_peft_model(base, config))
    golden = load_file(ADAPTER / "adapter_model.safetensors")
    assert {name: weight.shape for name, weight in made.items()} == {
        name: weight.shape for name, weight in golden.items()
    }


# Several sequences in a row


def packed(*lengths: int) -> torch.Tensor:
    return torch.cat([torch.arange(length) for length in lengths])[None]


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_sequences_see_nothing_of_each_other(base, ids, attention):
    base.set_attn_implementation(attention)
    parts = [ids[:1, :9], ids[1:], ids[:1, 9:14]]
    alone = torch.cat([base(input_ids=part).logits for part in parts], dim=1)
    positions = packed(*(part.shape[1] for part in parts))
    together = base(input_ids=torch.cat(parts, dim=1), position_ids=positions).logits
    assert largest_difference(together, alone) < 1e-5


@torch.no_grad()
def test_padding_on_the_left_changes_nothing(base, ids):
    mask = torch.ones(1, 24, dtype=torch.long)
    mask[:, :6] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    padded = base(input_ids=ids[:1], attention_mask=mask, position_ids=positions).logits
    assert largest_difference(padded[:, 6:], base(input_ids=ids[:1, 6:]).logits) < 1e-5


# The loss


@torch.no_grad()
def test_the_loss_is_the_cross_entropy_of_the_next_token(base, ids):
    labels = ids.clone()
    labels[0, :7] = labels[1, 20:] = IGNORED
    logits = base(input_ids=ids).logits
    wanted = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    out = base(input_ids=ids, labels=labels)
    assert out.loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert out.logits is None


@torch.no_grad()
def test_weights_say_how_much_a_label_counts(base, ids):
    weights = torch.rand(ids.shape, generator=torch.manual_seed(0))
    weights[0, 3:9] = 0
    logits = base(input_ids=ids).logits
    each = cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    total = (each * weights[:, 1:]).sum()
    mean = base(input_ids=ids, labels=ids, loss_weights=weights).loss
    assert mean.item() == pytest.approx((total / weights[:, 1:].sum()).item(), rel=1e-5)
    shared = base(input_ids=ids, labels=ids, loss_weights=weights, num_items_in_batch=100).loss
    assert shared.item() == pytest.approx(total.item() / 100, rel=1e-5)


def gradients(model: torch.nn.Module, ids: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def test_a_loss_in_chunks_is_the_whole_loss(base, ids, monkeypatch):
    whole, its_gradients = gradients(base, ids)
    monkeypatch.setattr(model_module, "LOSS_CHUNK", 5)
    in_chunks, their_gradients = gradients(base, ids)
    assert in_chunks == pytest.approx(whole, rel=1e-6)
    for name, gradient in its_gradients.items():
        assert largest_difference(gradient, their_gradients[name]) < 1e-6, name


def test_gradient_checkpointing_changes_no_gradient(base, ids):
    base.train()
    kept, its_gradients = gradients(base, ids)
    base.gradient_checkpointing_enable()
    anew, their_gradients = gradients(base, ids)
    assert anew == kept
    for name, gradient in its_gradients.items():
        assert largest_difference(gradient, their_gradients[name]) < 1e-7, name


# Checkpoints


@torch.no_grad()
def test_what_is_saved_can_be_loaded(base, ids, tmp_path):
    base.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    published = load_file(BASE / "model.safetensors")
    assert saved.keys() == {name for name in published if "inv_freq" not in name}
    again = load_base(tmp_path, dtype=torch.float32).eval()
    assert torch.equal(again(input_ids=ids).logits, base(input_ids=ids).logits)


@torch.no_grad()
def test_it_generates(base, ids, expected):
    made = base.generate(ids[:1], max_new_tokens=1, do_sample=False, use_cache=False)
    assert made[0, -1] == expected["logits"][0, -1].argmax()


def test_the_type_of_the_weights_can_be_chosen():
    assert {p.dtype for p in load_base(BASE).parameters()} == {torch.bfloat16}


@pytest.fixture
def copy(tmp_path) -> Path:
    return Path(shutil.copytree(BASE, tmp_path / "base"))


def refused(path: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        load_base(path, dtype=torch.float32)
    said = str(caught.value)
    assert str(path) in said
    assert "\n" not in said
    return said


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_without_a_model_is_refused(tmp_path, copy):
    assert "no GLM-4-Voice model" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no GLM-4-Voice model" in refused(tmp_path / "empty")
    (copy / "model.safetensors").unlink()
    assert "no GLM-4-Voice model" in refused(copy)


def test_a_damaged_configuration_is_refused(copy):
    (copy / "config.json").write_text("{")
    refused(copy)


def test_damaged_weights_are_refused(copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.pop("transformer.encoder.layers.1.mlp.dense_h_to_4h.weight"),
        lambda weights: weights.update({"transformer.extra.weight": torch.ones(2)}),
        lambda weights: weights.update({"transformer.output_layer.weight": torch.ones(7, 64)}),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_weights_that_do_not_fit_are_refused(copy, change):
    change_weights(copy, change)
    refused(copy)


def test_another_models_checkpoint_is_refused(copy):
    change_config(copy, model_type="llama", architectures=["LlamaForCausalLM"])
    refused(copy)
