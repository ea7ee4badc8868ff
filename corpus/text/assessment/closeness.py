"""How close a text is to what it is to be about: a query to its topic, a response to its query.

The measure is the cosine of two embeddings by the model that compares queries. Each text is
embedded once in a store's life, so whoever compares queries finds them embedded here. Texts that
arrive while others are being embedded wait, and are embedded together.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from corpus.embedding.embedding_process import EmbeddingProcess
from corpus.plan.rules import Rules, Verdict
from corpus.store.append_only_records import Records
from corpus.text.wording.text_rejection_rules import OFF_TOPIC
from corpus.text.wording.utterance import Utterance

AT_ONCE = 256
"""Texts embedded in one go: enough for full batches, few enough that the first need not wait."""


@dataclass(slots=True, eq=False)
class _Waiting:
    text: str
    about: str
    cosine: float | None = None


class Closeness:
    """Measures how close texts are to others, for many who ask at once.

    Args:
        embedder: embeds them.
        records: the store's embeddings.
    """

    def __init__(self, embedder: EmbeddingProcess, records: Records) -> None:
        self._embedder, self._records = embedder, records
        self._waiting: list[_Waiting] = []
        self._embedding = asyncio.Lock()

    async def of(self, text: str, about: str) -> float:
        """The cosine of a text with what it is to be about, found in the background.

        It follows from the two texts alone: the company in which they are embedded leaves no trace.

        Raises:
            InvalidInput, SympatheiaError, OSError: as `EmbeddingProcess.stored`.
        """
        asked = _Waiting(text, about)
        self._waiting.append(asked)
        async with self._embedding:
            while asked.cosine is None:  # whoever comes first does it for those behind as well
                group = self._waiting[:AT_ONCE]
                pairs = [(one.text, one.about) for one in group]
                cosines = await asyncio.to_thread(self.of_all, pairs)
                for one, cosine in zip(group, cosines, strict=True):
                    one.cosine = cosine
                del self._waiting[: len(group)]
        return asked.cosine

    def of_all(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The cosines of some texts, each with what it is to be about.

        Raises:
            InvalidInput, SympatheiaError, OSError: as `EmbeddingProcess.stored`.
        """
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        if not texts:
            return []
        # Products of float32 are exact in float64, and `fsum` rounds their sum once.
        vectors = self._embedder.stored(self._records, texts).astype(float)
        of_text = dict(zip(texts, vectors, strict=True))
        return [math.fsum((of_text[text] * of_text[about]).tolist()) for text, about in pairs]


def judged_by_closeness(
    rules: Rules[Utterance], said: Utterance, cosine: float, before: Verdict
) -> tuple[Utterance, Verdict]:
    """What was said with its closeness, and the verdict once that is known.

    Args:
        rules: by which it was judged while its closeness was not known.
        said: what was judged.
        cosine: its closeness.
        before: the verdict of the other rules, which found nothing.
    """
    said = replace(said, closeness=cosine)
    verdict = rules.judge(said, only=OFF_TOPIC)
    return said, Verdict(verdict.reason, before.reported + verdict.reported)
