"""Transformers' Trainer with what it cannot know: weighted losses, anchors, how fast it is."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainingArguments

from corpus.adapter.model import LOSS_CHUNK
from corpus.adapter.training.packed_samples import Collator, Sample, cell_of

Report = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class LoraModel:
    """A model with its adapter, and what training it costs.

    `flops_per_token` is two for each weight on the way there and two on the way back, and two more
    for the adapter's own, which alone have gradients. `flops_per_look` is what attention costs for
    each token that a token attends to: scores and mixing, once there and twice back.
    """

    peft: PeftModel
    vocab_size: int
    flops_per_token: float
    flops_per_look: float


class Speed:
    """Tokens a second of the steps, and the share of the hardware's peak that they use.

    Args:
        model: tells what a token costs.
        peak_tflops: of one device; 0 if it is not known.
    """

    def __init__(self, model: LoraModel, peak_tflops: float) -> None:
        self._model = model
        self._peak = peak_tflops * 1e12
        self._tokens = self._looks = 0
        self._begun = 0.0
        self._devices = 1

    def begin(self, batches: Sequence[dict[str, Tensor]], devices: int) -> None:
        """A step of this device begins, while others do as much."""
        self._tokens = sum(batch["input_ids"].numel() for batch in batches)
        self._looks = sum(int((batch["position_ids"] + 1).sum()) for batch in batches)
        self._devices = devices
        self._begun = time.perf_counter()

    def end(self, steps_left: int) -> dict[str, float]:
        """The figures of the step that was begun last."""
        seconds = time.perf_counter() - self._begun
        found = {
            "tokens_per_second": round(self._tokens * self._devices / seconds, 1),
            "seconds_left": round(seconds * steps_left, 1),
        }
        if self._peak:
            model = self._model
            flops = self._tokens * model.flops_per_token + self._looks * model.flops_per_look
            found["mfu"] = round(flops / seconds / self._peak, 4)
        return found


class AdapterTrainer(Trainer):
    """The Trainer, with weighted losses and an evaluation by subset and anchor."""

    def __init__(
        self,
        model: PeftModel,
        arguments: TrainingArguments,
        *,
        rows: Any,  # noqa: ANN401  (the Trainer asks for a Dataset; any sequence will do)
        eval_rows: list[list[Sample]],
        collator: Collator,
        speed: Speed,
        report: Report | None,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            data_collator=collator,
            train_dataset=rows,
            eval_dataset=eval_rows,
        )
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)  # its dictionaries belong in no one's results
        self._lora = model
        self._collator = collator
        self._eval_rows = eval_rows
        self._speed = speed
        self._report = report

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor | None]:
        """The batches of one step, and what the step's loss is divided by: the sum of weights."""
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        if not batches:
            return [], None
        total = torch.stack([batch["loss_weights"][:, 1:].sum() for batch in batches]).sum()
        total = self.accelerator.gather(total.to(device)).sum()
        self._speed.begin(batches, self.args.world_size)
        return batches, total

    def log(self, logs: dict[str, float], *rest: Any, **options: Any) -> None:  # noqa: ANN401
        """Adds how fast the step was, and tells whoever wants to know."""
        if "loss" in logs:
            logs |= self._speed.end(self.state.max_steps - self.state.global_step)
        super().log(logs, *rest, **options)
        if self._report is not None and self.is_world_process_zero():
            self._report({"step": self.state.global_step, "steps": self.state.max_steps, **logs})

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:  # noqa: ANN401  (the Trainer's)
        """Loss and perplexity per token: of all, by subset, and by subset and anchor."""
        sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._lora.eval()
        processes, rows = self.args.world_size, self._eval_rows
        for first in range(0, len(rows), processes):
            place = first + self.args.process_index
            # All take part to the end, since where weights are spread none can compute alone.
            row = rows[min(place, len(rows) - 1)]
            batch = self._prepare_inputs(self._collator([row]))
            with torch.no_grad(), self.compute_loss_context_manager():
                losses = token_losses(self._lora, batch)
            if place < len(rows):
                _add(sums, row, losses, batch["loss_weights"][0, 1:] != 0)
        self._lora.train()
        metrics = {f"eval_{name}": value for name, value in self._means(sums).items()}
        metrics["eval_perplexity"] = math.exp(min(metrics["eval_loss"], 50.0))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _means(self, sums: dict[str, list[float]]) -> dict[str, float]:
        """Means over all processes, each of which may have seen other cells."""
        cells = {cell_of(sample.id) for row in self._eval_rows for sample in row}
        names = ["loss"]
        names += sorted({f"loss_{subset}" for subset, _ in cells})
        names += sorted(f"loss_{subset}_{anchor}" for subset, anchor in cells)
        table = torch.tensor([sums[n] for n in names], device=self.args.device, dtype=torch.float64)
        table = self.accelerator.reduce(table)
        return {n: float(total / count) for n, (total, count) in zip(names, table, strict=True)}


def _add(
    sums: defaultdict[str, list[float]], row: Sequence[Sample], losses: Tensor, counted: Tensor
) -> None:
    """Adds the losses of a row's samples, and how many they are, to their cells."""
    start = 0
    for sample in row:
        end = start + len(sample.tokens) - 1
        kept = counted[start:end]
        subset, anchor = cell_of(sample.id)
        for name in ("loss", f"loss_{subset}", f"loss_{subset}_{anchor}"):
            sums[name][0] += float(losses[start:end][kept].sum())
            sums[name][1] += float(kept.sum())
        start = end + 1


def token_losses(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Negative log-likelihood of each token after the first, of a single row [length - 1]."""
    logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"]).logits[0]
    targets = batch["input_ids"][0, 1:]
    # In float32 a chunk at a time: all of them would take as much as the model.
    return torch.cat(
        [
            nn.functional.cross_entropy(part.float(), target, reduction="none")
            for part, target in zip(
                logits[:-1].split(LOSS_CHUNK), targets.split(LOSS_CHUNK), strict=True
            )
        ]
    )
