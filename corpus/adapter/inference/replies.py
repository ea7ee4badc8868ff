"""What a model wrote, taken apart: words, speech tokens, and what is wrong with it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase as Tokenizer

from corpus.errors import InvalidInput

Status = Literal["ok", "no_stop", "no_audio", "out_of_range"]
OK: Status = "ok"
NO_STOP: Status = "no_stop"
NO_AUDIO: Status = "no_audio"
OUT_OF_RANGE: Status = "out_of_range"

MEANINGS: dict[Status, str] = {
    OK: "words, then speech, then the end",
    NO_STOP: "cut off at the most tokens; what there is of it is kept and spoken",
    NO_AUDIO: "ended without speech",
    OUT_OF_RANGE: "words stand behind speech, or a speech token is none of the decoder's; what can "
    "be spoken of it is, and with random weights nothing else is to be expected",
}

_AUDIO = re.compile(r"<\|audio_(\d+)\|>")


@dataclass(frozen=True)
class Reply:
    """A response of the model.

    Attributes:
        status: one of `MEANINGS`.
        text: its words.
        tokens: its speech tokens, counted from the model's first one.
        speakable: whether the decoder can make sound of them.
        ended: whether it came to its end, and was not cut off.
    """

    status: Status
    text: str
    tokens: list[int]
    speakable: bool
    ended: bool


class ReplyReader:
    """Reads token ids of a base model's tokenizer.

    Args:
        tokenizer: The base's.
        codes: How many speech tokens the speech decoder knows.
        stops: The ids at which a response has ended.

    Raises:
        InvalidInput: The tokenizer has no speech tokens.
    """

    def __init__(self, tokenizer: Tokenizer, codes: int, stops: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._codes = codes
        self._stops = set(stops)
        found = ((_AUDIO.fullmatch(name), n) for name, n in tokenizer.get_vocab().items())
        self._audio = {n: int(match[1]) for match, n in found if match}
        if not self._audio:
            raise InvalidInput(
                "The base's tokenizer has no tokens <|audio_0|>, <|audio_1|> and so on: it is not "
                "that of GLM-4-Voice. Name its folder, or THUDM/glm-4-voice-9b, as --base."
            )

    def read(self, ids: Sequence[int]) -> Reply:
        """Takes a response apart; `ids` are its tokens, the stop at its end among them."""
        ended = bool(ids) and ids[-1] in self._stops
        said = list(ids[:-1] if ended else ids)
        tokens = [self._audio[n] for n in said if n in self._audio]
        words = [n for n in said if n not in self._audio]
        text = str(self._tokenizer.decode(words, skip_special_tokens=True)).strip()
        known = all(token < self._codes for token in tokens)
        in_order = all(n not in self._audio for n in said[: len(words)])
        status = OK if tokens else NO_AUDIO
        if not ended:
            status = NO_STOP
        if not (known and in_order):
            status = OUT_OF_RANGE
        return Reply(status, text, tokens, speakable=bool(tokens) and known, ended=ended)
