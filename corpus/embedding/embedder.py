"""The embedder of a recipe's `dedup.model`, whichever library runs it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from corpus.embedding.minilm import BUILTIN, MiniLM
from corpus.embedding.sentence_models import SentenceModel


class Embedder:
    """A sentence embedding model on the CPU, loaded when the first text is embedded.

    Attributes:
        model: What the recipe's `dedup.model` names: `BUILTIN`, another id of the hub or a folder.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self._model = MiniLM() if model == BUILTIN else SentenceModel(model)

    def load(self) -> None:
        """Loads the model now, so that one that cannot be had is known before work begins.

        Raises:
            InvalidInput: If the model cannot be loaded.
        """
        self._model.load()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts; the vector of a text is the same, bit for bit, in any call.

        Args:
            texts: Any number of texts; what exceeds the model's length limit is cut off.

        Returns:
            float32 [len(texts), dimension], rows of length 1.

        Raises:
            InvalidInput: If the model cannot be loaded.
        """
        vectors = self._model.encode(texts)
        lengths = np.sqrt(np.sum(vectors * vectors, axis=1, keepdims=True))
        # A text of which a model knows no word is a row of zeros, and stays one.
        return (vectors / np.where(lengths == 0.0, 1.0, lengths)).astype(np.float32)
