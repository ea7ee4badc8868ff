"""Training samples: sequences as token ids, several to a row, and the tensors of a batch."""

import random
import re
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from corpus.adapter.model import IGNORED
from corpus.errors import InvalidInput
from schemas.slots import EMOTIONAL, NEUTRAL

ASSISTANT, USER = "<|assistant|>", "<|user|>"
_AUDIO = re.compile(r"<\|audio_\d+\|>")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sequence: its id, its tokens (length,), and where its last response begins."""

    id: str
    tokens: NDArray[np.int32]
    response: int


@dataclass
class Samples:
    """The samples of a split that can be trained on, and the ids of those that are too long."""

    kept: list[Sample]
    too_long: list[str]


def read_samples(path: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Samples:
    """The samples of an `encoded_*.jsonl`.

    A sequence with more than `max_length` tokens is left out whole and named: cut, it would lose
    the end of its response and the `<|user|>` that closes it, and teach the model to go on.

    Raises:
        InvalidInput: there is no such file, a line is not of its format, or the tokenizer lacks a
            token that a sequence needs.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise InvalidInput(f"{path} is missing; 'sympatheia encode' makes it.") from None
    if not lines:
        raise InvalidInput(f"{path} is empty; the corpus needs both splits to train on.")
    known = _KnownTokens(tokenizer)
    found = Samples([], [])
    for number, line in enumerate(lines, start=1):
        try:
            record = orjson.loads(line)
            text, row_id = str.strip(record["text"]), str.strip(record["id"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise InvalidInput(f"{path}, line {number} is not an encoded sequence.") from error
        known.require(text, f"{path}, line {number}")
        tokens = np.asarray(tokenizer(text)["input_ids"], dtype=np.int32)
        if len(tokens) > max_length:
            found.too_long.append(row_id)
            continue
        (places,) = np.nonzero(tokens == known.assistant)
        if not len(places) or tokens[-1] != known.user:
            raise InvalidInput(
                f"{path}, line {number} has no response between {ASSISTANT} and a last {USER}."
            )
        found.kept.append(Sample(row_id, tokens, int(places[-1]) + 1))
    if not found.kept:
        raise InvalidInput(
            f"Every sequence of {path} has more than {max_length} tokens; raise adapter.max_length."
        )
    return found


class _KnownTokens:
    """The special tokens of a tokenizer, by name: a number would fit one version alone."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._seen: set[str] = set()
        self.assistant = self._id_of(ASSISTANT, "the tokenizer")
        self.user = self._id_of(USER, "the tokenizer")

    def require(self, text: str, where: str) -> None:
        """Passes if every audio token of a text is one that the tokenizer knows."""
        for token in set(_AUDIO.findall(text)) - self._seen:
            self._id_of(token, where)
            self._seen.add(token)

    def _id_of(self, token: str, where: str) -> int:
        ids = self._tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1 or self._tokenizer.convert_ids_to_tokens(ids[0]) != token:
            raise InvalidInput(
                f"{where} needs {token}, which the base model's tokenizer does not know as one "
                "token. Name a base with the speech tokens of GLM-4-Voice, or encode the corpus "
                "with the speech tokenizer that belongs to this base."
            )
        return int(ids[0])


def pack(samples: Sequence[Sample], length: int, seed: int) -> list[list[Sample]]:
    """Puts samples into rows of at most `length` tokens, each into the fullest it fits in.

    Best fit from the longest on leaves little room; the samples are shuffled first, so that which
    of equal length come together is drawn, and the rows at the end.
    """
    rng = random.Random(seed)
    order = list(samples)
    rng.shuffle(order)
    order.sort(key=lambda sample: -len(sample.tokens))
    rows: list[list[Sample]] = []
    rooms: list[tuple[int, int]] = []  # what is free in a row, and which; in order
    for sample in order:
        size = len(sample.tokens)
        place = bisect_left(rooms, (size, -1))
        if place < len(rooms):
            room, row = rooms.pop(place)
        else:
            room, row = length, len(rows)
            rows.append([])
        rows[row].append(sample)
        insort(rooms, (room - size, row))
    rng.shuffle(rows)
    return rows


def label(sample: Sample, of: str, weighting: str) -> tuple[Tensor, Tensor]:
    """Labels and weights (length,) of a sample.

    Args:
        sample: the sample.
        of: "sequence" has every token but the first count, "response" those of the response alone.
        weighting: "token" weighs every token alike, "sample" every sample, as the published
            trainer does.
    """
    labels = torch.from_numpy(sample.tokens.astype(np.int64))
    start = sample.response if of == "response" else 1
    labels[:start] = IGNORED
    weight = 1.0 if weighting == "token" else 1.0 / (len(labels) - start)
    return labels, torch.where(labels == IGNORED, 0.0, weight)


class Collator:
    """Makes the tensors of a batch of rows; every row is some samples in a row."""

    def __init__(self, of: str, weighting: str, pad_to_multiple_of: int = 8) -> None:
        self._of = of
        self._weighting = weighting
        self._multiple = pad_to_multiple_of

    def __call__(self, rows: Sequence[Sequence[Sample]]) -> dict[str, Tensor]:
        """`input_ids`, `position_ids`, `labels`, `loss_weights`, all [rows, length].

        Positions restart with each sample, which is how attention knows them apart; what fills a
        row up counts as one more sample, and no loss is taken of it.
        """
        longest = max(sum(len(sample.tokens) for sample in row) for row in rows)
        longest += -longest % self._multiple
        made = [self._row(row, longest) for row in rows]
        return {name: torch.stack([one[name] for one in made]) for name in made[0]}

    def _row(self, row: Sequence[Sample], length: int) -> dict[str, Tensor]:
        labels, weights = zip(
            *(label(sample, self._of, self._weighting) for sample in row), strict=True
        )
        sizes = [len(sample.tokens) for sample in row]
        sizes.append(length - sum(sizes))
        filling = sizes[-1]
        tokens = torch.from_numpy(
            np.concatenate([sample.tokens for sample in row]).astype(np.int64)
        )
        return {
            # Any token will do: nobody attends to it, and it is asked for nothing.
            "input_ids": torch.cat([tokens, tokens.new_zeros(filling)]),
            "position_ids": torch.cat([torch.arange(size) for size in sizes]),
            "labels": torch.cat([*labels, torch.full((filling,), IGNORED)]),
            "loss_weights": torch.cat([*weights, torch.zeros(filling)]),
        }


def rows_of(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Each sample in a row of its own."""
    return ([sample] for sample in samples)


def share_filled(rows: Sequence[Sequence[Sample]], length: int) -> float:
    """How much of the rows' room is taken."""
    return sum(len(s.tokens) for row in rows for s in row) / (len(rows) * length)


def cell_of(row_id: str) -> tuple[str, str]:
    """Subset and anchor of a row: `emotional-sad-00017` or `neutral-00042-sad`.

    Of a row that lies between the anchors, such as `grid-00017-03`, the subset twice: its points
    are its own, and all of them are one cell.
    """
    subset, _, rest = row_id.partition("-")
    if subset not in (EMOTIONAL, NEUTRAL):
        return subset, subset
    anchor, *_ = rest.rpartition("-") if subset == EMOTIONAL else rest.partition("-")[::-1]
    return subset, anchor


def facts(samples: Samples) -> dict[str, Any]:
    """How many samples and tokens there are, and what was left out."""
    lengths = [len(sample.tokens) for sample in samples.kept]
    return {
        "samples": len(lengths),
        "tokens": sum(lengths),
        "longest": max(lengths),
        "too_long": len(samples.too_long),
        "too_long_ids": samples.too_long,
    }
