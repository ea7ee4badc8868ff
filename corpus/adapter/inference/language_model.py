"""The language model at work: prompts in, token ids out.

`generate` is transformers' own. What is ours is how a token is drawn: each response has random
numbers of its own, so that it depends on its seed and not on which others are made beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers import PreTrainedTokenizerBase as Tokenizer

from corpus.adapter.devices import device_named
from corpus.adapter.handover.adapter_folder import CONFIG, WEIGHTS, adapted, find_adapter
from corpus.adapter.model import ChatGLMForCausalLM, load_base
from corpus.adapter.published_checkpoints import folder_of
from corpus.adapter.text_tokenizer import FILES as TOKENIZER_FILES
from corpus.adapter.text_tokenizer import load_tokenizer
from corpus.errors import SympatheiaError
from schemas.names import MOST_NEW_TOKENS, TEMPERATURE, TOP_P

STOPS = ("<|endoftext|>", "<|user|>", "<|observation|>")
"""Tokens at which a response has ended: those of the published checkpoint, by name."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; the published values.

    Attributes:
        temperature: what logits are divided by; 0 takes the likeliest token each time.
        top_p: the likeliest tokens that have this share of the probability are drawn from.
        max_new_tokens: where a response is cut off.
    """

    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    max_new_tokens: int = MOST_NEW_TOKENS


class LanguageModel:
    """A base model, with an adapter or without; `from_pretrained` loads one.

    Attributes:
        device: Where it runs.
        tokenizer: The base's own.
    """

    def __init__(
        self, model: ChatGLMForCausalLM | PeftModel, tokenizer: Tokenizer, device: torch.device
    ) -> None:
        self.device = device
        self.tokenizer = tokenizer
        self.stops = stop_ids(tokenizer)
        self._model = model.eval()
        nn.Module.to(self._model, device)

    @classmethod
    def from_pretrained(
        cls, base: str, adapter: str | None = None, device: str = "cpu"
    ) -> "LanguageModel":
        """Loads a base model and an adapter: folders, or names on the Hub.

        The weights are bfloat16 on a GPU, as published, and float32 on a CPU.

        Raises:
            InvalidInput: There is no such model, adapter or device, or they do not fit.
        """
        place = device_named(device)
        dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
        tokenizer, over = load_tokenizer(base), adapter and adapter_folder(adapter)
        model = load_base(base, dtype=dtype)
        return cls(adapted(model, over, base) if over else model, tokenizer, place)

    def continued(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[list[int]]:
        """The tokens that follow each prompt, all prompts together as one batch.

        Args:
            prompts: Texts, with speech in them as tokens.
            seeds: Of each one's random numbers.
            sampling: How tokens are drawn.

        Returns:
            For each prompt new token ids; the last is one of `stops`, unless it was cut off.

        Raises:
            SympatheiaError: The device's memory does not hold them.
        """
        if not prompts:
            return []
        rows = self.tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side="left")
        asked = rows["input_ids"].to(self.device)
        draws = LogitsProcessorList([_Draws(seeds, sampling)] if sampling.temperature else [])
        # All of it is said here: a checkpoint's own settings are not to slip in.
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=self.stops,
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
        )
        try:
            with torch.inference_mode():
                made = self._model.generate(
                    input_ids=asked,
                    attention_mask=rows["attention_mask"].to(self.device),
                    generation_config=settings,
                    logits_processor=draws,
                )
        except torch.OutOfMemoryError as error:
            raise SympatheiaError(
                f"The memory of {self.device} does not hold {len(prompts)} responses at once. Ask "
                "for a smaller --batch; everything finished is kept."
            ) from error
        return [self._ended(row) for row in made[:, asked.shape[1] :].tolist()]

    def _ended(self, row: list[int]) -> list[int]:
        """A row up to its first stop: what follows it only fills the batch."""
        end = next((place for place, token in enumerate(row) if token in self.stops), len(row))
        return row[: end + 1]


def adapter_folder(path: str) -> Path:
    """The folder of an adapter, or of a run that has one; one that is named on the Hub is fetched.

    Raises:
        InvalidInput: There is none.
    """
    return find_adapter(folder_of(path, [CONFIG, WEIGHTS], "adapter", "NAMESPACE/NAME"))


def stop_ids(tokenizer: Tokenizer) -> list[int]:
    """The tokens at which a response has ended, by a tokenizer's numbers."""
    return sorted(number for name, number in tokenizer.get_vocab().items() if name in STOPS)


def model_digest(base: str, adapter: str | None) -> str:
    """SHA-256 over all that a response depends on of a base model and an adapter: their files.

    Raises:
        InvalidInput: There is no such model or adapter.
    """
    patterns = ["config.json", "*.safetensors", "*.safetensors.index.json", *TOKENIZER_FILES]
    folders = [folder_of(base, patterns, "base model", "THUDM/glm-4-voice-9b")]
    folders += [adapter_folder(adapter)] if adapter else []
    digest = sha256()
    for folder in folders:
        for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
            digest.update(f"{path.name} ".encode())
            with path.open("rb") as file:
                digest.update(file_digest(file, "sha256").digest())
    return digest.hexdigest()


class _Draws(LogitsProcessor):
    """Draws each row's next token by one random number of its own, and leaves no other choice."""

    def __init__(self, seeds: Sequence[int], sampling: Sampling) -> None:
        self._sampling = sampling
        self._step = 0
        # On the CPU, whose random numbers are the same wherever the model runs.
        self._numbers = torch.stack(
            [
                torch.rand(
                    sampling.max_new_tokens,
                    generator=torch.Generator().manual_seed(seed),
                    dtype=torch.float64,
                )
                for seed in seeds
            ]
        )

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [rows, tokens] of which one is above minus infinity in each row."""
        number = self._numbers[:, self._step, None].to(scores.device)
        self._step += 1
        chances, order = (
            (scores.float() / self._sampling.temperature)
            .softmax(-1)
            .sort(dim=-1, descending=True, stable=True)
        )
        before = chances.double().cumsum(-1) - chances
        chances = chances.double() * (before < self._sampling.top_p)
        reached = chances.cumsum(-1)
        place = (reached <= number * reached[:, -1:]).sum(-1, keepdim=True)
        chosen = order.gather(1, place.clamp(max=scores.shape[1] - 1))
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)
