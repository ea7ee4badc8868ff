"""Training sequences: the corpus as strings that an adapter learns to continue.

Each pair becomes one string: what the user feels, as a point of the valence-arousal plane, the
query as speech tokens, the response as text and as speech tokens. Some pairs of the emotional
subset lose the point ("affect dropout"), so that a model learns to hear the feeling as well; where
the query is neutral, the point is all there is to go by, so there it stays.

A turn of a dialogue is one string, too: the exchanges before it are its context, and the point is
that of the turn itself. Where a loss is taken of responses alone, it is of the turn's own.

Speech tokens are made once per clip and kept in the store, so a run that was killed goes on with
the batch it was at, and one with nothing to do only reads.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path

import orjson

from corpus.adapter.clip_tokens import (
    SpokenBefore,
    TokenisedClips,
    encode_there,
    encoder_here,
    rows_of,
    tokenize,
)
from corpus.adapter.devices import devices_here, why
from corpus.adapter.prompt_template import sequence
from corpus.adapter.speech_tokens import checkpoint_digest, checkpoint_folder
from corpus.compute.local_or_dask import Workers
from corpus.dataset.dataset_folder import DatasetFolder
from corpus.dataset.manifest import NAME
from corpus.errors import InvalidInput
from corpus.plan.subsets.registry import ROOMS
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.run.stage_tables import Row
from corpus.speech.clip_requests import QUERY, RESPONSE
from corpus.store.files import whole_file, write_whole
from corpus.store.opening import open_store
from schemas.recipe import Adapter
from schemas.slots import SPLITS, SUBSETS, PairSlot

LISTING = "affect_dropout.json"
"""Beside the sequences: which corpus they are of, and who lost their affect."""
AFFECT_DROPOUT = Adapter().affect_dropout
"""Share of the emotional subset that loses its affect: a third, as in the published sequences."""

_TEXT = ("response_text", "valence", "arousal")


def affect_dropout(
    pairs: Iterable[PairSlot], seed: int, fraction: float = AFFECT_DROPOUT
) -> list[str]:
    """The ids of the pairs whose queries show a feeling that lose their affect, sorted.

    They follow from the plan and the seed alone. Of n pairs it is round(fraction * n), evenly
    spread: after each anchor, and after the dialogues, as many are dropped as the fraction of all
    pairs up to there asks for.

    Args:
        pairs: The slots of a plan, in its order.
        seed: Of the recipe.
        fraction: Of the pairs whose queries show a feeling in their words.
    """
    emotional = (pair for pair in pairs if ROOMS[pair.query.subset].in_words)
    dropped: list[str] = []
    seen = 0
    for _, cell in groupby(emotional, key=lambda pair: pair.query.drawn_with):
        ids = sorted(
            (pair.id for pair in cell),
            key=lambda name: sha256(f"{seed}/affect/{name}".encode()).digest(),
        )
        seen += len(ids)
        dropped += ids[: round(fraction * seen) - len(dropped)]
    return sorted(dropped)


def encode_corpus(
    folder: Path,
    speech_tokenizer: str | Path,
    devices: Sequence[str] | None = None,
    output: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Writes the training sequences of a corpus, one file a split.

    Beside `encoded_train.jsonl` and `encoded_eval.jsonl` stands `affect_dropout.json`, which tells
    the pairs whose text has no affect. Each file appears when it is whole.

    Args:
        folder: A run folder, or a dataset folder.
        speech_tokenizer: Its checkpoint: a folder, or a name on the Hub.
        devices: Where it runs, each with a copy of its own; one that is named twice has two. If
            None, on the Dask cluster of the run's recipe, else on every GPU here, else on the CPU.
        output: Where `sequences/` and the store of tokens go; the run folder itself if None.
        progress: Is told of every clip.

    Returns:
        The folder of the files.

    Raises:
        InvalidInput: There is no corpus in the folder, or it is a bare dataset folder and no output
            is given; there is no speech tokenizer, or no such device.
        SympatheiaError: The corpus is damaged or has no sound, or a build is at work in the folder.
        OSError: The disk is full or fails; files that stood before are untouched.
    """
    run = RunFolder(folder)
    dataset = _dataset(run)
    if output is None and dataset.root == folder:
        raise InvalidInput(
            f"{folder} is a dataset folder, whose files are all in its manifest, so sequences do "
            "not belong into it. Name another place with --output."
        )
    recipe = run.read_recipe() if run.recipe.is_file() else None
    fraction = recipe.adapter.affect_dropout if recipe else AFFECT_DROPOUT
    shared, dask = (recipe.storage.url, recipe.compute.dask) if recipe else ("", "")
    dropped = affect_dropout(dataset.slots.values(), dataset.manifest.seed, fraction)
    dataset.require_planned()
    checkpoint = checkpoint_folder(speech_tokenizer)
    target = RunFolder(output or folder)
    with target.locked(), open_store(target.store, shared) as store:
        digest = checkpoint_digest(checkpoint)
        clips = TokenisedClips(dataset, digest, store.speech_tokens, progress or Progress(None))
        if dask and devices is None:
            with Workers("makes speech tokens", 1, dask) as workers:
                there = partial(encode_there, workers, checkpoint, digest)
                tokenize(clips, [there] * workers.at_once)
        else:
            places = devices or devices_here()
            tokenize(clips, [encoder_here(checkpoint, device) for device in places])
        _write(target.sequences, dataset, clips, set(dropped))
        corpus = sha256((dataset.root / NAME).read_bytes()).hexdigest()
        facts = {"corpus": corpus, "fraction": fraction, "count": len(dropped), "ids": dropped}
        listing = orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n"
        write_whole(target.sequences / LISTING, listing)
    return target.sequences


def where_encoded(folder: Path, devices: Sequence[str] | None = None) -> str:
    """Where `encode_corpus` encodes, and why there.

    Args:
        folder: A run folder, or a dataset folder.
        devices: Those that were asked for.
    """
    run = RunFolder(folder)
    dask = run.read_recipe().compute.dask if run.recipe.is_file() and not devices else ""
    return f"on the Dask cluster at {dask}, as compute.dask says" if dask else why(devices)


def require_fresh(run: RunFolder) -> None:
    """Passes unless the sequences of a run were made of another corpus than it has now.

    Raises:
        InvalidInput: they were.
    """
    listing, manifest = run.sequences / LISTING, run.corpus / NAME
    if not (listing.is_file() and manifest.is_file()):
        return  # nothing to compare: sequences may come from elsewhere
    if (
        orjson.loads(listing.read_bytes()).get("corpus")
        != sha256(manifest.read_bytes()).hexdigest()
    ):
        raise InvalidInput(
            f"{run.sequences} was made of another corpus than {run.corpus} is now. Run "
            "'sympatheia encode' again: only what is new is encoded."
        )


def _dataset(run: RunFolder) -> DatasetFolder:
    if run.recipe.is_file() and not run.corpus.is_dir():
        raise InvalidInput(
            f"The run {run.root} has no corpus yet; 'sympatheia build' with its recipe makes it."
        )
    return DatasetFolder(run.root)


def _write(folder: Path, dataset: DatasetFolder, clips: TokenisedClips, dropped: set[str]) -> None:
    for split in SPLITS:
        path = folder / f"encoded_{split}.jsonl"
        with whole_file(path) as temporary, temporary.open("wb") as file:
            before = SpokenBefore(dataset, clips)
            for subset in SUBSETS:
                for rows in rows_of(dataset, subset, split, *_TEXT):
                    for row in rows:
                        file.write(_line(row, clips, before, row["id"] in dropped))


def _line(row: Row, clips: TokenisedClips, before: SpokenBefore, without_affect: bool) -> bytes:
    text = sequence(
        clips.tokens(row, QUERY),
        row["response_text"],
        clips.tokens(row, RESPONSE),
        None if without_affect else (row["valence"], row["arousal"]),
        before.of(row),
    )
    known = {name: row[name] for name in ("id", "valence", "arousal")}
    return orjson.dumps({"text": text} | known) + b"\n"
