"""The text tokenizer of a base model, without the code that the published one brings along.

GLM-4-Voice publishes a tiktoken vocabulary (`tokenizer.model`) and its special tokens, audio tokens
among them, with fixed numbers (`tokenizer_config.json`). Both become a tokenizer of the library
`tokenizers`, which prefixes `[gMASK]<sop>` as the published code does. A folder that has a
`tokenizer.json` is read as it is.
"""

from base64 import b64decode
from pathlib import Path

import orjson
from tokenizers import AddedToken, Tokenizer, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

from corpus.adapter.published_checkpoints import folder_of
from corpus.errors import InvalidInput

FAST, VOCABULARY, CONFIG = "tokenizer.json", "tokenizer.model", "tokenizer_config.json"
FILES = [FAST, VOCABULARY, CONFIG]
PREFIX = ("[gMASK]", "<sop>")
PADDING = "<|endoftext|>"


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The text tokenizer of a base model: a folder, or a name on the Hub.

    Raises:
        InvalidInput: there is none that can be loaded.
    """
    folder = folder_of(path, FILES, "base model", "THUDM/glm-4-voice-9b")
    try:
        if (folder / FAST).is_file():
            _require_readable(folder / FAST)
            return PreTrainedTokenizerFast.from_pretrained(folder)
        return PreTrainedTokenizerFast(
            tokenizer_object=_converted(folder), pad_token=PADDING, padding_side="left"
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"{path} has no text tokenizer that can be loaded: neither {FAST} nor {VOCABULARY} "
            f"with {CONFIG} ({' '.join(str(error).split())[:200]})."
        ) from error


def _require_readable(path: Path) -> None:
    try:
        Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{path.name}: {error}") from error


class _Converter(TikTokenConverter):
    """Transformers' converter, whose default way of cutting text is GLM-4's as well."""

    @staticmethod
    def load_tiktoken_bpe(tiktoken_url: str) -> dict[bytes, int]:
        """The tokens of a vocabulary with their ranks: a line each, the token in base 64."""
        lines = Path(tiktoken_url).read_bytes().splitlines()
        return {b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}


def _converted(folder: Path) -> Tokenizer:
    vocabulary = folder / VOCABULARY
    added = orjson.loads((folder / CONFIG).read_bytes())["added_tokens_decoder"]
    names = {int(number): token["content"] for number, token in added.items()}
    tokenizer = _Converter(vocab_file=str(vocabulary)).converted()
    first = tokenizer.get_vocab_size()
    # Added tokens are numbered on from the vocabulary, so what is left free has to be filled.
    tokenizer.add_special_tokens(
        [
            AddedToken(names.get(number, f"<|unused_{number}|>"), normalized=False, special=True)
            for number in range(first, max(names) + 1)
        ]
    )
    for number, name in names.items():
        if tokenizer.token_to_id(name) != number:
            raise ValueError(f"{name} is {number} in {CONFIG}, and cannot be in {VOCABULARY}")
    prefix = [(name, tokenizer.token_to_id(name)) for name in PREFIX]
    tokenizer.post_processor = processors.TemplateProcessing(f"{' '.join(PREFIX)} $A", None, prefix)
    return tokenizer
