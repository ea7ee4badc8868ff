"""Speaks through servers with the OpenAI-style endpoint `/v1/audio/speech`."""

import asyncio

import openai

from corpus.clips import finish
from corpus.endpoints import BadAnswer, Open
from corpus.speech import Clip, ClipRequest


class ServedVoice:
    """A voice behind one or more servers, which vLLM-Omni, SGLang-Omni and others offer.

    The style goes as `instructions`. `language` and `seed` are fields beyond OpenAI's own; servers
    that do not know them leave them aside.
    """

    takes_points = False

    def __init__(self, model: str, pool: Open) -> None:
        self.model = model
        self._pool = pool

    async def speak(self, request: ClipRequest, what: str) -> Clip:
        """Has one clip spoken and measures it as it came.

        Raises:
            EndpointsFailed: no server gave a clip for longer than the patience.
        """

        async def send(client: openai.AsyncOpenAI) -> bytes:
            answer = await client.audio.speech.create(
                model=request.model,
                voice=request.voice,
                input=request.text,
                instructions=request.style or "",
                response_format="wav",
                extra_body={"language": request.language, "seed": request.seed},
            )
            data = await answer.aread()
            if not data:
                raise BadAnswer("an empty body instead of a clip")
            return data

        pool = await self._pool()
        data = await pool.call(send, what)
        return Clip(*await asyncio.to_thread(finish, data, request.loudness))
