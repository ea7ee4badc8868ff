"""A local speech server whose sound follows from what it is asked, and that misbehaves on demand.

Its clips are a hum with syllables, so that a test of how a server behaves needs no voice.
"""

import asyncio
import io
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
import soundfile
from aiohttp import web

from schemas.audio import SAMPLE_RATE
from tests.support.fake_servers import FakeTextServer

SECONDS_PER_WORD = 0.3

Item = dict[str, Any]
"""What is asked for: input, voice, instructions, language, seed."""


def hum(item: Item, *, rate: int = SAMPLE_RATE, seconds: float = 0.0) -> bytes:
    """A clip as WAV; every field of what is asked for is heard in it."""
    seconds = seconds or SECONDS_PER_WORD * len(item["input"].split())
    fields = orjson.dumps([item.get(name) for name in ("input", "voice", "instructions", "seed")])
    pitch = 100 + int.from_bytes(blake2b(fields, digest_size=2).digest(), "big") / 500
    time = np.arange(round(rate * seconds)) / rate
    tone = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, 6))
    syllables = np.sin(np.pi * time / SECONDS_PER_WORD) ** 2
    file = io.BytesIO()
    soundfile.write(file, 0.2 * tone * syllables, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


Speak = Callable[[Item, int], bytes | web.Response]
"""Given what is asked for, and how many clips are asked for at that moment: a clip or a refusal."""


@dataclass
class FakeVoiceServer(FakeTextServer):
    """A server in a thread of this process; a context manager."""

    speak: Speak = lambda item, together: hum(item)
    seconds: float = 0.02
    """How long a clip takes: until all that are asked for together are there."""
    under_way: int = 0

    def application(self) -> web.Application:
        app = super().application()
        app.router.add_post("/v1/audio/speech", self._speech)
        app.router.add_post("/v1/audio/speech/batch", self._batch)
        return app

    async def _speech(self, request: web.Request) -> web.Response:
        self.under_way += 1
        try:
            item = await request.json()
            before = self.under_way
            await asyncio.sleep(self.seconds)
            found = self.speak(item, max(before, self.under_way))
        finally:
            self.under_way -= 1
        return found if isinstance(found, web.Response) else web.Response(body=found)

    async def _batch(self, request: web.Request) -> web.Response:
        items = (await request.json())["items"]
        results = []
        for index, item in enumerate(items):
            clip = self.speak(item, len(items))
            assert isinstance(clip, bytes)
            data = b64encode(clip).decode()
            results.append({"index": index, "status": "success", "audio_data": data})
        return web.json_response({"results": results})
