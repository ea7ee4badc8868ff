"""Trains the adapter: LoRA over the base model, by transformers' Trainer.

What is ours is what the Trainer cannot know: several samples to a row with positions of their own,
weights for the loss, evaluation by subset and anchor, and how fast the hardware is used.
"""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import BaseModel
from torch import nn
from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from corpus.adapter.model import ChatGLMForCausalLM, load_base
from corpus.adapter.text_tokenizer import load_tokenizer
from corpus.adapter.training.packed_samples import (
    Collator,
    Sample,
    Samples,
    facts,
    pack,
    read_samples,
    rows_of,
    share_filled,
)
from corpus.adapter.training.trainer import AdapterTrainer, LoraModel, Report, Speed
from corpus.adapter.training.training_folder import Trained, TrainingFolder
from corpus.errors import InvalidInput, SympatheiaError
from schemas.recipe import Adapter

KEPT_CHECKPOINTS = 2
"""The newest, to continue from, and the best; the Trainer keeps both."""


class TrainingOrder(BaseModel):
    """What is to be trained, and by how many processes.

    Attributes:
        sequences: the folder with `encoded_train.jsonl` and `encoded_eval.jsonl`.
        base: the base model, with its `tokenizer.json`.
        output: where the adapter goes; its `checkpoints` are kept there too.
        settings: how it is trained.
        seed: of the adapter's first weights, the order and the dropout.
        deepspeed: a DeepSpeed configuration, where the processes are started by accelerate.
    """

    sequences: Path
    base: str
    output: Path
    settings: Adapter
    seed: int
    processes: int = 1
    deepspeed: Path | None = None


def train(order: TrainingOrder, report: Report | None = None) -> Trained:
    """Trains an adapter, or continues where a killed training last saved.

    Args:
        order: what to train.
        report: is told each step's figures.

    Raises:
        InvalidInput: the sequences or the base do not fit, or the checkpoints are another
            training's.
        SympatheiaError: memory ran out.
    """
    base, settings = order.base, order.settings
    tokenizer = load_tokenizer(base)
    train_set, eval_set = (
        read_samples(order.sequences / f"encoded_{split}.jsonl", tokenizer, settings.max_length)
        for split in ("train", "eval")
    )
    rows = _rows(train_set, order)
    data = {"train": facts(train_set), "eval": facts(eval_set)}
    length = settings.packing_length if settings.packing else settings.max_length
    data["rows"] = {"count": len(rows), "filled": round(share_filled(rows, length), 4)}
    place = TrainingFolder(order.output)
    done = place.begin(base, settings, order.seed, data)
    if done is not None:
        return done
    torch.manual_seed(order.seed)
    model = _with_lora(base, settings)
    if model.vocab_size < len(tokenizer):
        raise InvalidInput(
            f"{base} has {model.vocab_size} embeddings, its tokenizer {len(tokenizer)} tokens; "
            "they belong to different models."
        )
    trainer = AdapterTrainer(
        model.peft,
        _arguments(place.checkpoints, order),
        rows=rows,
        eval_rows=_rows(eval_set, order),
        collator=Collator(settings.loss, settings.weighting),
        speed=Speed(model, settings.peak_tflops),
        report=report,
    )
    _fit(trainer, place)
    losses = trainer.evaluate()
    state = trainer.state
    best = state.best_global_step or state.global_step
    trained = Trained(state.global_step, best, losses, state.log_history, data)
    # By all processes: where DeepSpeed spread the weights, each has a part to give.
    saved = order.output / ".new"
    trainer.save_model(str(saved))
    if trainer.is_world_process_zero():
        place.finish(saved, trained)
    return trained


def _fit(trainer: AdapterTrainer, place: TrainingFolder) -> None:
    """Trains to the end, from the last save on if there is one."""
    try:
        trainer.train(resume_from_checkpoint=get_last_checkpoint(place.checkpoints))
    except torch.OutOfMemoryError as error:
        raise SympatheiaError(
            "The device's memory is full. Lower adapter.packing_length or adapter.batch_size, or "
            "set adapter.gradient_checkpointing=true, and run the same command again: it continues "
            "at the last save."
        ) from error


def _with_lora(base: str | Path, settings: Adapter) -> LoraModel:
    cuda = torch.cuda.is_available()
    model = load_base(base, dtype=torch.bfloat16 if cuda else torch.float32)
    model.set_attn_implementation(settings.attention)
    found = {
        name.rpartition(".")[2]
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear)
    }
    unknown = sorted(set(settings.target_modules) - found)
    if unknown:
        raise InvalidInput(
            f"adapter.target_modules: {base} has no {unknown[0]}; it has "
            f"{', '.join(sorted(found))}."
        )
    if settings.gradient_checkpointing:
        model.enable_input_require_grads()
    return lora_model(model, settings)


def lora_model(model: ChatGLMForCausalLM, settings: Adapter) -> LoraModel:
    """A base model with a new adapter."""
    lora = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules),
        bias="none",
        task_type="CAUSAL_LM",
    )
    peft = get_peft_model(model, lora)
    if model.dtype == torch.bfloat16:
        # Autocast takes what a layer gets down to bfloat16 anyway; until then peft would hold
        # float32 copies of it all.
        for part in peft.modules():
            if isinstance(part, BaseTunerLayer):
                part.cast_input_dtype_enabled = False  # type: ignore[assignment]
    trained = sum(p.numel() for p in peft.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in peft.parameters()) - trained
    frozen -= model.get_input_embeddings().weight.numel()  # looked up, not multiplied
    config = model.config
    look = 12.0 * config.num_layers * config.num_attention_heads * config.kv_channels
    return LoraModel(peft, config.padded_vocab_size, 4.0 * frozen + 6.0 * trained, look)


def _rows(samples: Samples, order: TrainingOrder) -> list[list[Sample]]:
    if order.settings.packing:
        return pack(samples.kept, order.settings.packing_length, order.seed)
    return list(rows_of(samples.kept))


def _arguments(checkpoints: str, order: TrainingOrder) -> TrainingArguments:
    settings = order.settings
    cuda = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=checkpoints,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        activation_checkpointing=settings.gradient_checkpointing,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        lr_scheduler_type="linear",
        warmup_steps=settings.warmup_steps,
        eval_strategy="steps",
        eval_steps=settings.eval_steps,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=KEPT_CHECKPOINTS,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        bf16=cuda,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        seed=order.seed % 2**32,
        deepspeed=str(order.deepspeed) if order.deepspeed else None,
    )
