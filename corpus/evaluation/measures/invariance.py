"""Is one query answered differently for each feeling? Lower is better.

All pairs of target emotions of each neutral query are compared, by what a recogniser heard of the
responses, as in the Sympatheia paper: by BERTScore (Zhang et al. 2020), with neither rescaling nor
document frequencies, and by ROUGE-L with Porter's stemmer (Lin 2004), whose F is the same in both
directions. Both by torchmetrics.
"""

from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from corpus.embedding.minilm import published_minilm
from corpus.errors import InvalidInput
from corpus.evaluation.clip_measures import HEARD, SECONDS
from corpus.evaluation.measures.measure import Figures, Measure
from corpus.evaluation.statistics import mean
from corpus.evaluation.workbench import Workbench
from corpus.plan.user_input import LONGEST_SAID, one_line
from schemas.slots import NEUTRAL

STAGE = "likeness"
BUNDLED = "all-MiniLM-L6-v2"
LAYERS = {"distilbert-base-uncased": 5, "bert-base-uncased": 9, "roberta-large": 17}
"""Which layer's vectors agree best with people, as the authors of BERTScore found by trial
(github.com/Tiiiger/bert_score). Of other models the last one is taken."""
LONGEST_TOKENS = 512
"""Of a text; what is behind is not compared, for these models were trained on no more."""


def invariance(rows: pd.DataFrame, bench: Workbench) -> Figures | None:
    """The means over all pairs of emotions, and how many responses had no words to compare."""
    neutral = rows[rows["subset"] == NEUTRAL]
    words = neutral[HEARD].where(neutral[HEARD].notna(), neutral["text"])
    compared = neutral.assign(words=words.where(words.str.strip().astype(bool)))
    if bench.settings.least_seconds:
        compared = compared[compared[SECONDS] >= bench.settings.least_seconds]
    with_words = compared.dropna(subset="words")
    groups = [
        (str(query), list(part["words"]))
        for query, part in with_words.groupby("query_id", sort=False)
        if len(part) > 1
    ]
    if not groups:
        return None
    bench.progress.begin(STAGE, {"queries": len(groups)})
    table = pd.DataFrame(_pairs(groups, bench))
    return {
        **{
            name: mean(table[name], table["query"], bench.seed)
            for name in ("bertscore_f1", "rouge_l")
        },
        "model": bench.settings.bertscore or BUNDLED,
        "without_words": len(compared) - len(with_words),
    }


def _pairs(groups: list[tuple[str, list[str]]], bench: Workbench) -> Iterator[dict[str, Any]]:
    model = bench.settings.bertscore
    asked = [
        (sha256("\0".join((model or BUNDLED, *texts)).encode()).hexdigest(), scores, (model, texts))
        for _, texts in groups
    ]
    found = bench.computed(bench.store.likeness, asked)
    for (query, _), record in zip(groups, found, strict=True):
        bench.progress.filled(STAGE, "queries")
        for f1, rouge in zip(record["bertscore_f1"], record["rouge_l"], strict=True):
            yield {"query": query, "bertscore_f1": f1, "rouge_l": rouge}


MEASURE = Measure(
    "invariance",
    "BERTScore F1 and ROUGE-L between the responses to one neutral query, for all pairs of target "
    "emotions, by what was heard. Lower is better: 1 is one answer for every feeling.",
    frozenset({"words"}),
    invariance,
)


# What follows runs in the workers.


def scores(model: str, texts: list[str]) -> dict[str, list[float]]:
    """BERTScore F1 and ROUGE-L of all pairs of texts, in the order of `itertools.combinations`.

    Raises:
        InvalidInput: the model cannot be loaded.
    """
    from torchmetrics.functional.text import bert_score, rouge_score

    network, tokenizer = _network(model)
    vectors_of = _remembered()
    found: dict[str, list[float]] = {"bertscore_f1": [], "rouge_l": []}
    for one, other in combinations(texts, 2):
        # A pair a call: of several torchmetrics 1.9 compares texts that do not belong together,
        # because it sorts both sides by length, each by itself, and does not find the way back.
        f1 = bert_score(
            [one],
            [other],
            model=network,
            user_tokenizer=tokenizer,
            user_forward_fn=vectors_of,
        )["f1"]
        rouge = rouge_score(one, other, use_stemmer=True, rouge_keys="rougeL")["rougeL_fmeasure"]
        found["bertscore_f1"].append(round(float(np.ravel(f1)[0]), 6))
        found["rouge_l"].append(round(float(rouge), 6))
    return found


@cache
def _network(model: str) -> tuple[Any, Any]:
    import torch
    import transformers

    torch.set_num_threads(1)  # there is a process for every core
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    name = model or str(published_minilm())
    try:
        tokens = transformers.AutoTokenizer.from_pretrained(name)
        layers = LAYERS.get(model.rpartition("/")[2])
        limits = {"num_hidden_layers": layers} if layers else {}
        network = transformers.AutoModel.from_pretrained(name, **limits)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"evaluation.bertscore: {name} cannot be loaded "
            f"({one_line(str(error), LONGEST_SAID)}). Name a folder with a model of transformers, "
            "or one on the Hub, or leave the key out."
        ) from None

    def tokenizer(texts: list[str], **_: object) -> dict[str, Any]:
        # Not filled up to the greatest length, as it would be asked to.
        encoded = tokens(texts, truncation=True, max_length=LONGEST_TOKENS, return_tensors="pt")
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}

    return network, tokenizer


def _remembered() -> Callable[[Any, dict[str, Any]], Any]:
    """Gives the vectors [1, tokens, dimension] of a text, each computed once."""
    known: dict[tuple[int, ...], Any] = {}

    def vectors(network: Any, batch: dict[str, Any]) -> Any:  # noqa: ANN401  (tensors)
        key = tuple(batch["input_ids"][0].tolist())
        if key not in known:
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            known[key] = network(**inputs).last_hidden_state
        return known[key].clone()  # for it is normalised in its place

    return vectors
