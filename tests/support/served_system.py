"""A system of tiny checkpoints behind its server, in a thread of this process."""

import json
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from corpus.adapter.inference.chat_server import Shown, application
from corpus.adapter.inference.speech_system import Parts, SpeechSystem
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.voices.speech_api import listen

SHORT = 40
"""Tokens, of which the tiny checkpoints make some seconds of sound."""


def parts_in(folder: Path, adapter: Path | None = None) -> Parts:
    """The checkpoints that `corpus.adapter.tiny` has made in a folder."""
    names = ("base", "speech-tokenizer", "decoder")
    return Parts(*(str(folder / name) for name in names), adapter and str(adapter))


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """The address of an application."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)


@contextmanager
def served(parts: Parts, corpus: Path | None = None) -> Iterator[str]:
    """The address of a system, with the queries of a corpus."""
    shown = Shown.of(parts, DatasetFolder(corpus) if corpus else None)
    app = application(SpeechSystem.from_pretrained(parts), shown)
    with serving(app) as address:
        yield address


def body(sound: bytes | str, kind: str = "wav", **fields: Any) -> dict[str, Any]:
    """A request of a short answer to a sound file, or to what stands where its base64 should."""
    data = sound if isinstance(sound, str) else b64encode(sound).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": kind}}
    return {"messages": [{"role": "user", "content": [part]}], "max_tokens": SHORT} | fields


def ask(address: str, asked: dict[str, Any] | bytes, **headers: str) -> httpx.Response:
    """What a server says to a request."""
    content = asked if isinstance(asked, bytes) else json.dumps(asked)
    path = "/v1/chat/completions"
    return httpx.post(address + path, content=content, headers=headers, timeout=120)
