"""Chat completions with sound in and sound out: the bodies, in OpenAI's form.

Beside OpenAI's fields a request has `affect`, the point of the valence-arousal plane that the model
is told, or null; and an answer has `sympatheia`, which says what was told and what came of it.
"""

import base64
import binascii
import time
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corpus.adapter.inference.language_model import Sampling
from corpus.adapter.inference.replies import MEANINGS
from corpus.adapter.inference.speech_system import Answer, require_question
from corpus.adapter.inference.told_affect import Affect, affect_of_point
from corpus.errors import InvalidInput
from corpus.sound.clip_audio import encode_wav
from corpus.voices.speech_api import first_problem

MOST_TOKENS = Sampling.max_new_tokens
"""Of an answer: the published limit, about two and a half minutes."""
_ONE_QUESTION = (
    "Send one message of the role user whose content is one input_audio part: this model hears one "
    "question, and reads no text"
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Sound(_Part):
    """Base64 of a sound file. What it is, the file itself says; `format` may only not say else."""

    data: str
    format: Literal["wav", "flac", "mp3", "ogg", "opus"] = "wav"


class SoundPart(_Part):
    """A part of a message that is heard."""

    type: Literal["input_audio"]
    input_audio: Sound


class Message(_Part):
    """The user's turn."""

    role: Literal["user"]
    content: Annotated[list[SoundPart], Field(min_length=1, max_length=1)]


class Voice(_Part):
    """How the answer sounds. The decoder has one voice, whatever name OpenAI's clients send."""

    voice: str = ""
    format: Literal["wav"] = "wav"


class Point(_Part):
    """A point of the plane; `corpus.adapter.inference.told_affect` says which there are."""

    valence: float
    arousal: float


class ChatRequest(_Part):
    """The body of a request. The server has one model, so whatever `model` says, that answers."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1)]
    model: str | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: Voice | None = None
    stream: Literal[False] = False
    n: Literal[1] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    temperature: Annotated[float, Field(ge=0, le=2)] = Sampling.temperature
    top_p: Annotated[float, Field(gt=0, le=1)] = Sampling.top_p
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    affect: Point | None = None


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        sound: a sound file with speech.
        affect: what the model is told; None if nothing.
        seed: of what is drawn.
        sampling: how it is drawn.
    """

    sound: bytes
    affect: Affect | None
    seed: int
    sampling: Sampling


class BadRequest(InvalidInput):
    """A request that cannot be answered; `field` is what is wrong with it, if that is one."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


def read_question(body: bytes) -> Question:
    """Reads the body of a request.

    Raises:
        BadRequest: It is none that can be answered.
    """
    try:
        asked = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        field, why = first_problem(error, ChatRequest)
        hint = f". {_ONE_QUESTION}" if (field or "").startswith("messages") else ""
        raise BadRequest(f"{why}{hint}.", field) from None
    part = asked.messages[0].content[0].input_audio
    try:
        sound = base64.b64decode(part.data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(
            f"this is no base64 ({error}). Send the bytes of a sound file, without 'data:' before "
            "them.",
            "messages.0.content.0.input_audio.data",
        ) from None
    try:
        require_question(sound)
    except InvalidInput as error:
        raise BadRequest(str(error), "messages.0.content.0.input_audio") from error
    try:
        affect = affect_of_point(**asked.affect.model_dump()) if asked.affect else None
    except InvalidInput as error:
        raise BadRequest(str(error), "affect") from error
    most = min(asked.max_completion_tokens or asked.max_tokens or MOST_TOKENS, MOST_TOKENS)
    sampling = Sampling(asked.temperature, asked.top_p, most)
    return Question(sound, affect, asked.seed, sampling)


def completion(question: Question, answer: Answer, model: str) -> dict[str, Any]:
    """An answer as the body of a response.

    Args:
        question: What was asked.
        answer: What came of it.
        model: What the model is called.
    """
    reply, now = answer.reply, int(time.time())
    sound = seconds = None
    if answer.wave is not None:
        seconds = round(len(answer.wave) / answer.sampling_rate, 3)
        sound = {
            "id": f"audio-{uuid.uuid4().hex}",
            "data": base64.b64encode(encode_wav(answer.wave, answer.sampling_rate)).decode(),
            "transcript": reply.text,
            "expires_at": now,  # nothing is kept that could be asked for
        }
    message = {"role": "assistant", "content": reply.text, "refusal": None, "audio": sound}
    told = question.affect and dict(zip(Point.model_fields, question.affect, strict=True))
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": now,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "stop" if reply.ended else "length",
                "logprobs": None,
            }
        ],
        "sympatheia": {
            "status": reply.status,
            "meaning": MEANINGS[reply.status],
            "affect": told,
            "seed": question.seed,
            "seconds": seconds,
            "prompt": answer.prompt,
        },
    }
