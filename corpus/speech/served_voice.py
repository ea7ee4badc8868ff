"""Speaks through servers with the OpenAI-style endpoint `/v1/audio/speech`."""

import asyncio
import logging
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import openai
import orjson

from corpus.servers.retry_and_failover import BadAnswer, Endpoints, EndpointsFailed, Open
from corpus.servers.server_errors import ErrorInBody, error_in, one_line, read_json
from corpus.sound.clip_audio import finish
from corpus.speech.clip_requests import Clip, ClipRequest
from corpus.voices.speech_api import CAME_TO_ITS_END, FINISH_REASON

COLLECTING_SECONDS = 0.05
"""How long the first clip of a batch waits for others: nothing beside the seconds one takes."""


log = logging.getLogger(__name__)

# A server's word for what was wrong goes into a table of ours, so it has to look like a rule.
_CODE = re.compile(r"[a-z]\w{2,39}", re.ASCII)


class _Ended(bytes):
    """A clip of which its server says that the voice came to its end by itself."""


@dataclass(frozen=True, slots=True)
class _Unmade:
    """A clip that a batch has not; `words` is what the server said of it, if anything."""

    words: str = ""


_Waiting = tuple[ClipRequest, asyncio.Future[bytes | _Unmade]]


class ServedVoice:
    """A voice behind one or more servers, which vLLM-Omni, SGLang-Omni and others offer.

    The style goes as `instructions`, behind the description of who speaks where the model makes
    voices from descriptions; `task_type` then says so, which vLLM-Omni asks for. `language` and
    `seed` are fields beyond OpenAI's own, too; servers that do not know them leave them aside.

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
        self._waiting: list[_Waiting] = []
        self._told: set[str] = set()
        self._sending: set[asyncio.Task[None]] = set()

    async def speak(self, request: ClipRequest, what: str) -> Clip:
        """Has one clip spoken, measured and finished.

        Raises:
            EndpointsFailed: no server gave a clip for longer than the patience.
        """
        data = await self._in_company(request) if self._batch > 1 else _Unmade()
        if isinstance(data, _Unmade):
            data = await self._alone(request, what, data.words)
        flac, measures = await asyncio.to_thread(finish, data, request.loudness)
        measures = replace(measures, ended=isinstance(data, _Ended))
        if measures.problem:
            measures = replace(measures, refusal=_refusal(data))
        return Clip(flac, measures)

    async def _alone(self, request: ClipRequest, what: str, in_a_batch: str) -> bytes:
        async def send(client: openai.AsyncOpenAI) -> bytes:
            answer = await client.audio.speech.create(
                model=request.model,
                voice=request.voice,
                input=request.text,
                instructions=request.style or "",
                response_format="wav",
                extra_body={"language": request.language, "seed": request.seed, **_task(request)},
            )
            data = await answer.aread()
            if not data:
                raise BadAnswer("an empty body instead of a clip")
            if error := _error_instead(data, answer.response):
                raise error
            ended = answer.response.headers.get(FINISH_REASON) == CAME_TO_ITS_END
            return _Ended(data) if ended else data

        pool = await self._pool()
        try:
            return await pool.call(send, what)
        except EndpointsFailed as error:
            if not in_a_batch:
                raise
            raise EndpointsFailed(f"{error} In a batch it was refused: {in_a_batch}") from None

    # In batches

    async def _in_company(self, request: ClipRequest) -> bytes | _Unmade:
        """A clip made in one request with others, if this one of them could be made."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes | _Unmade] = loop.create_future()
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

    async def _send(self, together: Sequence[_Waiting]) -> None:
        items = [
            {
                "input": request.text,
                "voice": request.voice,
                "instructions": request.style or "",
                "language": request.language,
                "seed": request.seed,
                **_task(request),
            }
            for request, _ in together
        ]
        body = orjson.dumps({"model": self.model, "response_format": "wav", "items": items})

        async def send(client: openai.AsyncOpenAI) -> list[bytes | _Unmade]:
            answer = await client.post(
                "/audio/speech/batch",
                content=body,
                cast_to=httpx2.Response,
                options={"headers": {"Content-Type": "application/json"}},
            )
            reply = read_json(answer.content)
            if error := error_in(reply, answer):
                raise error
            return _read_batch(reply, len(items))

        answers = [answer for _, answer in together]
        try:
            pool = await self._pool()
            made = await pool.call(send, f"a batch of {len(items)} clips")
            clips = [self._told_of(clip, pool) for clip in made]
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

    def _told_of(self, clip: bytes | _Unmade, pool: Endpoints) -> bytes | _Unmade:
        """A clip of a batch; what a server says of one that it has not made is said once."""
        if isinstance(clip, bytes) or not clip.words:
            return clip
        words = pool.shown(clip.words)
        if words not in self._told:
            self._told.add(words)
            log.warning("a clip of a batch was refused and is asked for alone: %s", words)
        return _Unmade(words)


def _error_instead(data: bytes, response: httpx2.Response) -> Exception | None:
    """The error that came where a clip should, unless it is about this clip alone."""
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        reply = read_json(data)
    except BadAnswer:
        return None
    error = error_in(reply, response)
    if isinstance(error, ErrorInBody):
        return error
    return error if _words(reply) and not _refusal(data) else None


def _refusal(data: bytes) -> str | None:
    """The code of an error that came where a clip should; None if it is anything else."""
    try:
        code = str(orjson.loads(data)["error"]["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return code if _CODE.fullmatch(code) else None


def _task(request: ClipRequest) -> dict[str, str]:
    """What is said beside a request that has a voice made from its description."""
    return {"task_type": "VoiceDesign"} if request.design else {}


def _read_batch(reply: Any, count: int) -> list[bytes | _Unmade]:  # noqa: ANN401 (JSON)
    """The clips of a batch in the order asked for; of those it has not, what the server says.

    Raises:
        BadAnswer: it is not the answer to a batch of so many.
    """
    clips: dict[int, bytes | _Unmade] = {}
    try:
        for result in reply["results"]:
            index = range(count)[result["index"]]
            if index != result["index"] or index in clips:
                raise KeyError(index)  # a number from behind, or one given twice
            if result["status"] == "success":
                clip = b64decode(result["audio_data"], validate=True)
                ended = result.get("finish_reason") == CAME_TO_ITS_END
                clips[index] = (_Ended(clip) if ended else clip) or _Unmade()
            else:
                clips[index] = _Unmade(_words(result))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        raise BadAnswer("the answer is not a batch of clips") from None
    return [clips.get(index, _Unmade()) for index in range(count)]


def _words(result: dict[str, Any]) -> str:
    """What a server says of a clip that it could not make, unless it says it by a code."""
    if isinstance(result.get("code"), str) and _CODE.fullmatch(result["code"]):
        return ""
    error = result.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return one_line(str(message or ""))
