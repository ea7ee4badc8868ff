"""Speaks through servers with the OpenAI-style endpoint `/v1/audio/speech`."""

import asyncio
import re
from base64 import b64decode
from dataclasses import replace
from typing import Any

import httpx2
import openai
import orjson

from corpus.servers.endpoint_pool import BadAnswer, Open
from corpus.sound.clip_audio import finish
from corpus.speech.clip_requests import Clip, ClipRequest
from corpus.voices.speech_api import CAME_TO_ITS_END, FINISH_REASON

COLLECTING_SECONDS = 0.05
"""How long the first clip of a batch waits for others: nothing beside the seconds one takes."""


# A server's word for what was wrong goes into a table of ours, so it has to look like a rule.
_CODE = re.compile(r"[a-z]\w{2,39}", re.ASCII)


class _Ended(bytes):
    """A clip of which its server says that the voice came to its end by itself."""


class ServedVoice:
    """A voice behind one or more servers, which vLLM-Omni, SGLang-Omni and others offer.

    The style goes as `instructions`. `language` and `seed` are fields beyond OpenAI's own; servers
    that do not know them leave them aside.

    Args:
        model: What the servers call the voice's model.
        pool: Opens the servers.
        at_once: How many clips may be asked for at a time.
        batch: Most clips in a request. From 2 on `/v1/audio/speech/batch` is used, which vLLM-Omni
            and `sympatheia serve qwen-tts` have.
    """

    takes_points = False

    def __init__(self, model: str, pool: Open, at_once: int, batch: int = 1) -> None:
        self.model = model
        self.at_once = at_once
        self._pool = pool
        self._batch = batch
        self._waiting: list[tuple[ClipRequest, asyncio.Future[bytes | None]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def speak(self, request: ClipRequest, what: str) -> Clip:
        """Has one clip spoken, measured and finished.

        Raises:
            EndpointsFailed: no server gave a clip for longer than the patience.
        """
        data = await self._in_company(request) if self._batch > 1 else None
        if data is None:
            data = await self._alone(request, what)
        flac, measures = await asyncio.to_thread(finish, data, request.loudness)
        measures = replace(measures, ended=isinstance(data, _Ended))
        if measures.problem:
            measures = replace(measures, refusal=_refusal(data))
        return Clip(flac, measures)

    async def _alone(self, request: ClipRequest, what: str) -> bytes:
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
            ended = answer.response.headers.get(FINISH_REASON) == CAME_TO_ITS_END
            return _Ended(data) if ended else data

        pool = await self._pool()
        return await pool.call(send, what)

    # In batches

    async def _in_company(self, request: ClipRequest) -> bytes | None:
        """A clip made in one request with others; None if this one of them could not be made."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes | None] = loop.create_future()
        self._waiting.append((request, answer))
        if len(self._waiting) >= self._batch:
            self._send_waiting()
        elif len(self._waiting) == 1:
            loop.call_later(COLLECTING_SECONDS, self._send_waiting)
        return await answer

    def _send_waiting(self) -> None:
        together, self._waiting = self._waiting, []
        if together:
            task = asyncio.create_task(self._send(together))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, together: list[tuple[ClipRequest, asyncio.Future[bytes | None]]]) -> None:
        items = [
            {
                "input": request.text,
                "voice": request.voice,
                "instructions": request.style or "",
                "language": request.language,
                "seed": request.seed,
            }
            for request, _ in together
        ]
        body = orjson.dumps({"model": self.model, "response_format": "wav", "items": items})

        async def send(client: openai.AsyncOpenAI) -> list[bytes | None]:
            answer = await client.post(
                "/audio/speech/batch",
                content=body,
                cast_to=httpx2.Response,
                options={"headers": {"Content-Type": "application/json"}},
            )
            return _read_batch(orjson.loads(answer.content), len(items))

        answers = [answer for _, answer in together]
        try:
            pool = await self._pool()
            clips = await pool.call(send, f"a batch of {len(items)} clips")
        except BaseException as error:
            for answer in answers:
                if not answer.done():
                    answer.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for answer, clip in zip(answers, clips, strict=True):
                if not answer.done():  # its caller may have been cancelled
                    answer.set_result(clip)


def _refusal(data: bytes) -> str | None:
    """The code of an error that came where a clip should; None if it is anything else."""
    try:
        code = str(orjson.loads(data)["error"]["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return code if _CODE.fullmatch(code) else None


def _read_batch(reply: Any, count: int) -> list[bytes | None]:  # noqa: ANN401 (JSON)
    """The clips of a batch in the order asked for; None where the server names an error.

    Raises:
        BadAnswer: it is not the answer to a batch of so many.
    """
    clips: list[bytes | None] = [None] * count
    try:
        for result in reply["results"]:
            if result["status"] == "success":
                clip = b64decode(result["audio_data"], validate=True)
                ended = result.get("finish_reason") == CAME_TO_ITS_END
                clips[result["index"]] = _Ended(clip) if ended else clip
    except (KeyError, IndexError, TypeError, ValueError):
        raise BadAnswer("the answer is not a batch of clips") from None
    return clips
