"""The responses of a system to the queries of a corpus: heard, written, spoken, on file.

Each step is kept under the digest of what it was made from, so that a kill costs what was in flight
and the same command goes on: speech tokens of a query, token ids of a response, its sound. The
table and `system.toml` are written last, from what is on file.
"""

import asyncio
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w

from corpus.adapter.clip_tokens import SpokenBefore, TokenisedClips, encoder_here, rows_of, tokenize
from corpus.adapter.devices import devices_here
from corpus.adapter.inference.conditions import Condition, conditions_of, seed_of
from corpus.adapter.inference.language_model import (
    LanguageModel,
    Sampling,
    model_digest,
    stop_ids,
)
from corpus.adapter.inference.replies import Reply, ReplyReader, Status
from corpus.adapter.inference.responses_folder import SYSTEM, TABLE
from corpus.adapter.inference.writers import (
    IN_FLIGHT,
    Put,
    Request,
    ServedModel,
    served_name,
    write_here,
)
from corpus.adapter.prompt_template import Spoken, prompt
from corpus.adapter.speech_decoder import SpeechDecoder
from corpus.adapter.speech_tokens import checkpoint_digest, checkpoint_folder
from corpus.adapter.text_tokenizer import load_tokenizer
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.dataset.manifest import NAME
from corpus.errors import InvalidInput
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import Row, write_table
from corpus.servers.retry_and_failover import Endpoints
from corpus.sound.clip_audio import encode_flac, seconds_of
from corpus.speech.clip_requests import QUERY, RESPONSE
from corpus.store.digest_store import Store
from corpus.store.files import write_whole
from corpus.store.opening import open_store
from schemas.orders import ResponsesOrder
from schemas.slots import DIALOGUE, SUBSETS
from schemas.tables import ANSWERS

WRITING, SPEAKING = "responses", "sound"
SECTION = "responses"
"""What messages call the servers' part of an order."""
GPU_BATCH = 32
"""Responses written together on a GPU, where a step takes as long for one: generation.json in
`benchmarks`."""
SPEAKING_BATCH = 64
"""Responses decoded before they are put on file; a kill costs no more sound than this."""
_ROWS_AT_ONCE = 64
"""Rows of the table in memory, about half a megabyte of sound each."""
_COLUMNS = (
    *("query_id", "subset", "query_text", "response_text"),
    *("response_emotion", "valence", "arousal"),
)


@dataclass(frozen=True, slots=True)
class _Item:
    """A response that is to be had."""

    request: Request
    row: Row
    condition: Condition
    affect: tuple[float, float] | str | None


class _Answering:
    """One order at work. What hears and what speaks are there from the first, or it is refused."""

    def __init__(self, order: ResponsesOrder, store: Store, progress: Progress) -> None:
        self._order = order
        self._store = store
        self._progress = progress
        self._device = order.device or devices_here()[0]
        self._sampling = Sampling(order.temperature, order.top_p, order.max_new_tokens)
        self._tokenizer = load_tokenizer(order.base)
        self._stops = stop_ids(self._tokenizer)
        self._mouth = SpeechDecoder.from_pretrained(order.decoder, self._device)
        self._reader = ReplyReader(self._tokenizer, self._mouth.codes, self._stops)

    def items(self, dataset: DatasetFolder, conditions: Sequence[Condition]) -> list[_Item]:
        """What is to be had, in the corpus's order, a condition after the other for each row."""
        clips = self._heard(dataset)
        split = self._order.split
        rows = [
            row
            for subset in SUBSETS
            for group in rows_of(dataset, subset, split, *_COLUMNS)
            for row in group
        ]
        most = min(self._order.limit or len(rows), len(rows))
        chosen = {place * len(rows) // most for place in range(most)}
        before, items = SpokenBefore(dataset, clips), []
        for place, row in enumerate(rows):
            said = before.of(row)
            if place in chosen:
                heard = clips.tokens(row, QUERY)
                items += [self._item(row, condition, heard, said) for condition in conditions]
        return items

    def _heard(self, dataset: DatasetFolder) -> TokenisedClips:
        """The queries of the split, each with its speech tokens on file.

        In a corpus with dialogues all clips are: what was answered before is a turn's context.
        """
        order = self._order
        checkpoint = checkpoint_folder(order.speech_tokenizer)
        digest = checkpoint_digest(checkpoint)
        tokens = self._store.speech_tokens
        roles = (QUERY, RESPONSE) if DIALOGUE in dataset.blueprint.plan.subsets else (QUERY,)
        clips = TokenisedClips(dataset, digest, tokens, self._progress, roles, (order.split,))
        tokenize(clips, [encoder_here(checkpoint, self._device)])
        return clips

    def _item(
        self, row: Row, condition: Condition, heard: list[int], said: Sequence[Spoken]
    ) -> _Item:
        seed = self._order.seed
        name = f"{row['id']}/{condition.name}"
        noise = seed_of(seed, "noise", name)
        affect = condition.affect(row["valence"], row["arousal"], noise)
        request = Request(name, prompt(heard, affect, said), seed_of(seed, "response", name))
        return _Item(request, row, condition, affect)

    def write(self, items: Sequence[_Item], model: str) -> list[Reply]:
        """Each response taken apart; those that are not on file are written."""
        keys = {item.request: item.request.digest(model, self._sampling) for item in items}
        records = self._store.replies
        self._progress.begin(WRITING, dict(Counter(item.condition.name for item in items)))
        cells = {item.request: item.condition.name for item in items}

        def has(request: Request) -> bool:
            return keys[request] in records

        def put(request: Request, ids: list[int]) -> None:
            records.put(keys[request], {"tokens": ids})
            self._progress.filled(WRITING, cells[request])

        for request in filter(has, cells):
            self._progress.filled(WRITING, cells[request])
        if not all(map(has, cells)):
            if self._order.endpoints:
                missing = [request for request in cells if not has(request)]
                asyncio.run(self._ask_servers(missing, put))
            else:
                order = self._order
                writer = LanguageModel.from_pretrained(order.base, order.adapter, self._device)
                size = order.batch or (GPU_BATCH if writer.device.type == "cuda" else 1)
                for request, ids in write_here(writer, list(cells), self._sampling, size, has):
                    put(request, ids)
        written = (records.require(keys[item.request])["tokens"] for item in items)
        return [self._reader.read(ids) for ids in written]

    async def _ask_servers(self, missing: Sequence[Request], put: Put) -> None:
        order = self._order

        def encode(text: str) -> list[int]:
            ids: list[int] = self._tokenizer(text)["input_ids"]
            return ids

        async with Endpoints(order.endpoints, concurrency=IN_FLIGHT, section=SECTION) as pool:
            await pool.check()
            name = await served_name(pool, order.served_model)
            with self._progress.watching(SECTION, pool.snapshot, 0, 0.0):
                served = ServedModel(pool, name, encode, self._stops)
                await served.write(missing, self._sampling, put)

    def speak(self, replies: Sequence[Reply]) -> None:
        """Has those responses spoken whose sound is not on file."""
        split, clips = self._order.split, self._store.clips
        spoken = {self._key(reply): reply for reply in replies if reply.speakable}
        self._progress.begin(SPEAKING, {split: len(spoken)})
        missing = []
        for key, reply in spoken.items():
            if key in clips:
                self._progress.filled(SPEAKING, split)
            else:
                missing.append((key, reply.tokens))
        # Like with like: what is decoded together is padded to the longest.
        missing.sort(key=lambda one: len(one[1]))
        for start in range(0, len(missing), SPEAKING_BATCH):
            part = missing[start : start + SPEAKING_BATCH]
            waves = self._mouth.decode([tokens for _, tokens in part])
            for (key, _), wave in zip(part, waves, strict=True):
                clips.put(key, encode_flac(wave, self._mouth.sampling_rate))
                self._progress.filled(SPEAKING, split)

    def _key(self, reply: Reply) -> str:
        """What the sound of a response is kept under."""
        return sha256(f"{self._mouth.digest} {reply.tokens}".encode()).hexdigest()

    def rows(self, items: Sequence[_Item], replies: Sequence[Reply]) -> Iterator[Row]:
        """The rows of the table, once all is spoken."""
        model = _name(self._order)
        for item, reply in zip(items, replies, strict=True):
            row = item.row
            told = item.affect if isinstance(item.affect, tuple) else (None, None)
            sound = self._store.clips.read(self._key(reply)) if reply.speakable else None
            yield {
                "id": item.request.name,
                "query_id": row["query_id"],
                "subset": row["subset"],
                "emotion": row["response_emotion"],
                "valence": told[0],
                "arousal": told[1],
                "target_valence": row["valence"],
                "target_arousal": row["arousal"],
                "condition": item.condition.name,
                "prompt": item.request.prompt,
                "seed": item.request.seed,
                "status": reply.status,
                "text": reply.text,
                "tokens": reply.tokens,
                "audio": sound and {"bytes": sound, "path": f"{item.request.name}.flac"},
                "seconds": sound and seconds_of(sound),
                "model": model,
                "query_text": row["query_text"],
            }


def _name(order: ResponsesOrder) -> str:
    return order.adapter or order.base


def respond(order: ResponsesOrder, progress: Progress) -> Counter[Status]:
    """Answers the queries of a corpus, or goes on where that was stopped.

    Returns:
        How many responses have which status.

    Raises:
        InvalidInput: there is no such corpus, checkpoint or condition, or another system's or
            corpus's responses are in the folder.
        SympatheiaError: the corpus has no sound, the servers failed, or memory ran out; everything
            made is kept.
        OSError: the disk is full or fails.
    """
    conditions = conditions_of(order.conditions, order.noise, order.scales)
    dataset = DatasetFolder(order.corpus)
    digest = model_digest(order.base, order.adapter)
    system = _system(order, dataset, digest, [condition.name for condition in conditions])
    folder = RunFolder(order.output)
    with folder.locked():
        _begin(folder.root / SYSTEM, system)
        with open_store(folder.store) as store:
            at_work = _Answering(order, store, progress)
            items = at_work.items(dataset, conditions)
            replies = at_work.write(items, digest)
            at_work.speak(replies)
            store.sync()
            rows = at_work.rows(items, replies)
            write_table(folder.root / TABLE, ANSWERS, rows, _ROWS_AT_ONCE)
    return Counter(reply.status for reply in replies)


def _system(
    order: ResponsesOrder, dataset: DatasetFolder, digest: str, conditions: Sequence[str]
) -> dict[str, Any]:
    """What makes the responses, as `system.toml` says it: nothing of the machine."""
    corpus = sha256((dataset.root / NAME).read_bytes()).hexdigest()
    return {
        "name": _name(order),
        "release": metadata.version("sympatheia-corpus"),
        "base": order.base,
        "adapter": order.adapter or "",
        "model_digest": digest,
        "speech_tokenizer": order.speech_tokenizer,
        "decoder": order.decoder,
        "written_by": "servers" if order.endpoints else "this package",
        "conditions": list(conditions),
        "sampling": {
            "seed": order.seed,
            "temperature": order.temperature,
            "top_p": order.top_p,
            "max_new_tokens": order.max_new_tokens,
        },
        "corpus": {
            "name": dataset.manifest.name,
            "manifest_sha256": corpus,
            "split": order.split,
            "limit": order.limit or 0,
        },
    }


def _begin(path: Path, system: dict[str, Any]) -> None:
    """Says what is answered here, unless another system or corpus has been before.

    Raises:
        InvalidInput: it has.
    """
    if path.is_file():
        try:
            before = tomllib.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InvalidInput(f"{path} is damaged ({error}). Name another --output.") from error
        for key in ("base", "adapter", "model_digest", "corpus"):
            ours, theirs = system[key], before.get(key)
            if key == "corpus":
                ours, theirs = (dict(one or {}).get("manifest_sha256") for one in (ours, theirs))
            if ours != theirs:
                raise InvalidInput(
                    f"{path.parent} has responses of another {key.replace('_digest', '')} "
                    f"({theirs}). Name another --output."
                )
    write_whole(path, tomli_w.dumps(system).encode())
