"""One request to a model that hears: what is sent, and what identifies it."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from corpus.judge.rubrics import CLIP_LINE
from corpus.plan.templates import Message
from corpus.sound.sound_files import recode

Part = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HearingRequest:
    """A request for one answer about clips: everything that shapes it, and nothing else.

    Attributes:
        model: as its servers call it.
        messages: each line `[[clip]]` in them stands for the next clip.
        clips: sound files as they lie on disk.
        temperature: of the sampling.
        top_p: of the sampling.
        max_tokens: most tokens of the answer.
        seed: of the sampling.
    """

    model: str
    messages: Sequence[Message]
    clips: tuple[bytes, ...]
    temperature: float
    top_p: float
    max_tokens: int
    seed: int

    def body(self) -> bytes:
        """What is sent, with the clips as 16-bit WAV: 4 MB for a minute.

        Raises:
            Undecodable: a clip is no sound file.
        """
        return self._with(b64encode(recode(clip, "WAV")[0]).decode() for clip in self.clips)

    def digest(self) -> str:
        """Identifies the request, and so its answer.

        It is taken over what is sent, with the SHA-256 of each clip's file in the place of the
        sound.
        """
        return sha256(self._with(sha256(clip).hexdigest() for clip in self.clips)).hexdigest()

    def _with(self, sounds: Iterator[str]) -> bytes:
        """The body in one canonical form, with these in the places of the sound."""
        fields = {
            "model": self.model,
            "messages": [
                {"role": message["role"], "content": _content(message["content"], sounds)}
                for message in self.messages
            ],
            # Of the models that hear many also speak, unless they are told to write.
            "modalities": ["text"],
            "temperature": float(self.temperature),
            "top_p": float(self.top_p),
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def _content(text: str, sounds: Iterator[str]) -> str | list[Part]:
    """A message's content: a text, or in parts where something is heard in it."""
    before, *texts = CLIP_LINE.split(text)
    if not texts:
        return text
    parts = [_text(before)]
    for after in texts:
        sound = {"data": next(sounds), "format": "wav"}
        parts += [{"type": "input_audio", "input_audio": sound}, _text(after)]
    return [part for part in parts if part.get("text") != ""]


def _text(text: str) -> Part:
    return {"type": "text", "text": text.strip()}
