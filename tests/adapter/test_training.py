"""Training at tiny size: samples and rows, losses, killed and continued, and what is refused."""

import json
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from peft import PeftModel

from corpus.adapter.model import IGNORED, load_base
from corpus.adapter.text_tokenizer import load_tokenizer
from corpus.adapter.tiny import CODES, make_base
from corpus.adapter.training.launch import LOG, launch
from corpus.adapter.training.lora_training import TrainingOrder, train
from corpus.adapter.training.packed_samples import (
    Collator,
    Sample,
    cell_of,
    label,
    pack,
    read_samples,
    rows_of,
)
from corpus.adapter.training.trainer import token_losses
from corpus.adapter.training_sequences import require_fresh
from corpus.errors import InvalidInput, SympatheiaError
from corpus.run.run_folder import RunFolder
from schemas.recipe import Adapter

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = {
    "max_steps": 8,
    "save_steps": 4,
    "eval_steps": 4,
    "max_length": 256,
    "packing_length": 256,
    "warmup_steps": 2,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "base"
    make_base(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(base):
    return load_tokenizer(base)


def audio(rng, least, most):
    return "".join(f"<|audio_{rng.randrange(CODES)}|>" for _ in range(rng.randrange(least, most)))


def sequences(count, seed):
    rng = random.Random(seed)
    for number in range(count):
        anchor = ("sad", "angry")[number % 2]
        row_id = (
            f"emotional-{anchor}-{number:05d}" if number % 3 else f"neutral-{number:05d}-{anchor}"
        )
        text = (
            "<|system|>\nPlease respond in English. User emotion (valence=-0.75, arousal=-0.65)\n"
            f"<|user|>\n{audio(rng, 5, 15)}\n<|assistant|>\nI hear you.\n"
            f"{audio(rng, 5, 40)}<|user|>"
        )
        yield {"text": text, "id": row_id, "valence": -0.75, "arousal": -0.65}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    for split, count in (("train", 40), ("eval", 12)):
        lines = (json.dumps(record) + "\n" for record in sequences(count, split))
        (folder / f"encoded_{split}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def order(encoded, base, tmp_path):
    return TrainingOrder(
        sequences=encoded,
        base=str(base),
        output=tmp_path / "adapter",
        settings=Adapter(**SETTINGS),
        seed=1,
    )


@pytest.fixture(scope="module")
def samples(encoded, tokenizer):
    return read_samples(encoded / "encoded_train.jsonl", tokenizer, 256).kept


# Samples


def test_a_sequence_is_read_whole_with_the_prefix_of_the_base(samples, tokenizer):
    first = samples[0]
    said = tokenizer.decode(first.tokens)
    assert said.startswith("[gMASK]<sop><|system|>")
    assert said.endswith("|><|user|>")
    assert tokenizer.decode(first.tokens[: first.response]).endswith("<|assistant|>")


def test_sequences_too_long_are_left_out_whole_and_named(encoded, tokenizer):
    everything = read_samples(encoded / "encoded_train.jsonl", tokenizer, 10_000)
    limit = sorted(len(sample.tokens) for sample in everything.kept)[-4]
    found = read_samples(encoded / "encoded_train.jsonl", tokenizer, limit)
    longer = [s.id for s in everything.kept if len(s.tokens) > limit]
    assert found.too_long == longer
    assert 0 < len(longer) <= 3
    assert len(found.kept) == 40 - len(longer)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda line: "{", "line 2 is not an encoded sequence"),
        (lambda line: '{"id": "x"}', "line 2 is not an encoded sequence"),
        (lambda line: line.replace("<|assistant|>", "<|user|>"), "no response between"),
        (lambda line: line.replace('<|user|>"', '"'), "no response between"),
        (
            lambda line: line.replace("<|user|>\\n", f"<|user|>\\n<|audio_{CODES}|>"),
            rf"needs <\|audio_{CODES}\|>, which the base model's tokenizer does not know",
        ),
    ],
)
def test_a_line_that_cannot_be_trained_on_is_named(encoded, tokenizer, tmp_path, change, sentence):
    lines = (encoded / "encoded_eval.jsonl").read_text().splitlines()
    lines[1] = change(lines[1])
    path = tmp_path / "encoded_eval.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(InvalidInput, match=sentence):
        read_samples(path, tokenizer, 256)


def test_nothing_to_train_on_is_refused(encoded, tokenizer, tmp_path):
    with pytest.raises(InvalidInput, match="'sympatheia encode' makes it"):
        read_samples(tmp_path / "encoded_train.jsonl", tokenizer, 256)
    (tmp_path / "encoded_train.jsonl").write_text("")
    with pytest.raises(InvalidInput, match="is empty"):
        read_samples(tmp_path / "encoded_train.jsonl", tokenizer, 256)
    with pytest.raises(InvalidInput, match=r"raise adapter\.max_length"):
        read_samples(encoded / "encoded_train.jsonl", tokenizer, 20)


@pytest.mark.parametrize("length", [100, 256, 4096])
def test_rows_hold_every_sample_once_and_no_more_than_fit(length):
    rng = random.Random(0)
    made = [Sample(str(n), np.zeros(rng.randrange(20, 100), np.int32), 10) for n in range(300)]
    rows = pack(made, length, seed=3)
    assert sorted(s.id for row in rows for s in row) == sorted(s.id for s in made)
    assert all(sum(len(s.tokens) for s in row) <= length for row in rows)
    least = -(-sum(len(s.tokens) for s in made) // length)
    assert len(rows) <= 1.35 * least
    again = pack(made, length, seed=3)
    assert [[s.id for s in row] for row in rows] == [[s.id for s in row] for row in again]
    other = pack(made, length, seed=4)
    assert [[s.id for s in row] for row in rows] != [[s.id for s in row] for row in other]


def test_labels_and_weights():
    sample = Sample("x", np.arange(10, 20, dtype=np.int32), 6)
    labels, weights = label(sample, "response", "sample")
    assert labels.tolist() == [IGNORED] * 6 + [16, 17, 18, 19]
    assert weights.tolist() == [0.0] * 6 + [0.25] * 4
    labels, weights = label(sample, "sequence", "token")
    assert labels.tolist() == [IGNORED, *range(11, 20)]
    assert weights.tolist() == [0.0] + [1.0] * 9


def test_cells_of_rows_with_any_anchor():
    assert cell_of("emotional-sad-00017") == ("emotional", "sad")
    assert cell_of("emotional-very-sad-00017") == ("emotional", "very-sad")
    assert cell_of("neutral-00042-very-sad") == ("neutral", "very-sad")
    assert cell_of("grid-00017-03") == ("grid", "grid")


# Losses


@pytest.mark.parametrize("weighting", ["token", "sample"])
@pytest.mark.parametrize("of", ["sequence", "response"])
def test_packed_and_unpacked_losses_agree(base, samples, of, weighting):
    model = load_base(base, dtype=torch.float32).eval()
    collate = Collator(of, weighting)

    def loss(rows):
        total = weight = 0.0
        with torch.no_grad():
            for row in rows:
                batch = collate([row])
                share = float(batch["loss_weights"][:, 1:].sum())
                total += float(model(**batch).loss) * share
                weight += share
        return total / weight

    alone, together = loss(rows_of(samples)), loss(pack(samples, 600, seed=0))
    assert abs(alone - together) < 1e-5
    # And as PyTorch has it, of one sample by itself.
    ids = torch.from_numpy(samples[0].tokens.astype(np.int64))[None]
    start = samples[0].response if of == "response" else 1
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, start - 1 : -1]
    plain = torch.nn.functional.cross_entropy(logits, ids[0, start:])
    assert abs(loss([[samples[0]]]) - float(plain)) < 1e-5


def test_samples_in_a_row_do_not_see_each_other(base, samples):
    model = load_base(base, dtype=torch.float32).eval()
    collate = Collator("sequence", "token")
    first, second, third = samples[:3]
    with torch.no_grad():
        one = token_losses(model, collate([[first, second]]))
        other = token_losses(model, collate([[third, second]]))
    size = len(second.tokens) - 1
    a = one[len(first.tokens) :][:size]
    b = other[len(third.tokens) :][:size]
    assert torch.allclose(a, b, atol=1e-5)


# Training


def run(order, by=launch):
    """What a training comes to, and its losses by step; `by=train` does it in this process."""
    told = []
    trained = by(order, told.append)
    return trained, {f["step"]: f["loss"] for f in told if "loss" in f}


@pytest.fixture(scope="module")
def trained(encoded, base, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    order = TrainingOrder(
        sequences=encoded, base=str(base), output=output, settings=Adapter(**SETTINGS), seed=1
    )
    return order, *run(order)


def test_it_learns_and_the_best_is_kept(trained, base):
    order, done, losses = trained
    assert sorted(losses) == list(range(1, 9))
    assert done.steps == 8
    assert losses[8] < losses[1]
    evaluated = {
        entry["step"]: entry["eval_loss"] for entry in done.history if "eval_loss" in entry
    }
    assert evaluated[done.best_step] == min(evaluated.values()) == done.losses["eval_loss"]
    assert {name for name in done.losses if name.count("_") > 1} == {
        f"eval_loss_{cell}"
        for cell in (
            "emotional",
            "neutral",
            "emotional_sad",
            "emotional_angry",
            "neutral_sad",
            "neutral_angry",
        )
    }
    assert done.data["train"]["samples"] == 40
    assert 0.7 < done.data["rows"]["filled"] <= 1
    ids = torch.arange(24)[None]
    model = load_base(base, dtype=torch.float32).eval()
    with torch.no_grad():
        before = model(input_ids=ids).logits
        after = PeftModel.from_pretrained(model, order.output).eval()(input_ids=ids).logits
    assert (before - after).abs().max() > 1e-3


def test_losses_by_cell_are_the_means_of_their_samples(trained, base, tokenizer):
    order, done, _ = trained
    found = read_samples(order.sequences / "encoded_eval.jsonl", tokenizer, 256).kept
    model = PeftModel.from_pretrained(load_base(base, dtype=torch.float32), order.output).eval()
    collate = Collator("sequence", "token")
    chosen = [sample for sample in found if cell_of(sample.id) == ("neutral", "sad")]
    with torch.no_grad():
        losses = torch.cat(
            [token_losses(model, collate([[s]]))[: len(s.tokens) - 1] for s in chosen]
        )
    assert done.losses["eval_loss_neutral_sad"] == pytest.approx(float(losses.mean()), abs=1e-4)
    assert done.losses["eval_perplexity"] == pytest.approx(np.exp(done.losses["eval_loss"]))


def test_killed_it_goes_on_at_the_last_save_to_the_same_losses(trained, order, tmp_path):
    whole, _, losses = trained
    command = [sys.executable, "-m", "corpus.adapter.training.launch", order.model_dump_json()]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    for line in process.stdout:
        if b'"step":6' in line:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    checkpoints = order.output / "checkpoints"
    assert (checkpoints / "checkpoint-4").is_dir()
    # As if it had been killed in the middle of another save.
    torn = checkpoints / "checkpoint-6"
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_bytes(b"x")
    _, continued = run(order)
    assert continued == {step: losses[step] for step in range(5, 9)}
    name = "adapter_model.safetensors"
    assert (order.output / name).read_bytes() == (whole.output / name).read_bytes()
    assert not torn.exists()


def test_a_training_that_is_done_has_nothing_to_do(trained):
    order, done, _ = trained
    again, losses = run(order, by=train)
    assert losses == {}
    assert again.losses["eval_loss"] == pytest.approx(done.losses["eval_loss"])


def test_another_training_in_its_place_is_refused(trained):
    order, _, _ = trained
    other = order.model_copy(update={"settings": Adapter(**SETTINGS | {"r": 4})})
    with pytest.raises(InvalidInput, match="another training: its r differs.*--output"):
        launch(other, lambda figures: None)


def test_two_processes_train_together(order):
    settings = Adapter(**SETTINGS | {"max_steps": 4, "gradient_accumulation_steps": 2})
    together = order.model_copy(update={"processes": 2, "settings": settings})
    done, losses = run(together)
    assert done.steps == 4
    assert sorted(losses) == [1, 2, 3, 4]
    alone = settings.model_copy(update={"gradient_accumulation_steps": 4})
    place = order.output.with_name("alone")
    done_alone, _ = run(order.model_copy(update={"settings": alone, "output": place}), by=train)
    assert done.losses["eval_loss"] == pytest.approx(done_alone.losses["eval_loss"], abs=0.02)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"target_modules": ("q_proj",)}, "has no q_proj; it has dense"),
        ({"max_length": 20, "packing_length": 20}, r"raise adapter\.max_length"),
    ],
)
def test_settings_that_do_not_fit_are_refused(order, change, sentence):
    wrong = order.model_copy(update={"settings": Adapter(**SETTINGS | change)})
    with pytest.raises(InvalidInput, match=sentence):
        train(wrong)
    assert not (order.output / "adapter_model.safetensors").exists()


def test_a_base_that_is_none_is_refused(order, tmp_path):
    with pytest.raises(InvalidInput, match="has no text tokenizer"):
        launch(order.model_copy(update={"base": str(tmp_path)}), lambda figures: None)


def test_a_training_that_dies_says_where_to_look(order):
    with pytest.raises(SympatheiaError, match=f"exit code.*{LOG} has all it said"):
        launch(
            order.model_copy(update={"deepspeed": order.sequences / "encoded_eval.jsonl"}),
            lambda figures: None,
        )


def test_gradient_checkpointing_and_no_packing_train_too(order):
    settings = SETTINGS | {"gradient_checkpointing": True, "packing": False, "max_steps": 4}
    done, losses = run(order.model_copy(update={"settings": Adapter(**settings)}), by=train)
    assert done.data["rows"]["count"] == 40
    assert all(0 < loss < 8 for loss in losses.values())


def test_sequences_of_a_corpus_that_has_changed_are_refused(tmp_path):
    run = RunFolder(tmp_path)
    require_fresh(run)  # sequences from elsewhere
    for path, content in (
        (run.corpus / "manifest.json", b"{}"),
        (run.sequences / "affect_dropout.json", b'{"corpus": "of another"}'),
    ):
        path.parent.mkdir()
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match="Run 'sympatheia encode' again"):
        require_fresh(run)


def test_a_device_that_is_full_is_a_sentence_and_leaves_no_adapter(order, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr("corpus.adapter.model.cross_entropy", full)
    with pytest.raises(SympatheiaError, match=r"memory is full. Lower adapter\.packing_length"):
        train(order)
    assert not (order.output / "adapter_model.safetensors").exists()
