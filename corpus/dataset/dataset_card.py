"""The dataset card: what a reader and the Hub must know, generated from the corpus itself."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import DatasetCardData

from corpus.dataset.cast_facts import Heard
from corpus.dataset.manifest import NAME, facts_of, read_manifest, write_manifest
from corpus.plan.blueprint import Blueprint
from corpus.plan.slot_layout import Plan
from corpus.store.files import write_whole
from schemas.recipe import Speech
from schemas.slots import DIALOGUE, SPLITS, SUBSETS, TEXT
from schemas.tables import SOUNDS, features

CARD = "README.md"
FIGURES_SAID = """## How good it is

By `sympatheia evaluate`, of the corpus's own responses; means with 95 % intervals over other
queries of the same kind. `evaluation.json`, where it lies beside, has all of it.
"""
_FIGURES_BEGIN, _FIGURES_END = "<!-- begin evaluation -->", "<!-- end evaluation -->"

TEMPLATE = Path(__file__).with_name("dataset_card.md.jinja")

# Upper bounds and names of the Hub's size categories.
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST_SIZE = "1M<n<10M"


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """What was written of one split of a subset, or of the light config.

    `files` has each one's rows; `seconds` counts queries and responses.
    """

    subset: str
    split: str
    rows: int
    files: dict[Path, int]
    seconds: float

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(path.stat().st_size for path in self.files)


@dataclass(frozen=True, slots=True)
class Review:
    """How much of a corpus people reviewed.

    Attributes:
        pairs: of which each part, words and sound, was judged.
        of: how many there are.
        reviewers: how many people.
        struck: texts and clips that they struck.
        agreement: how far they agree, in words; empty where that cannot be told.
    """

    pairs: int
    of: int
    reviewers: int
    struck: int
    agreement: str

    @property
    def whole(self) -> bool:
        """Whether they reviewed each pair."""
        return self.pairs == self.of


def write_card(
    folder: Path,
    blueprint: Blueprint,
    tts_model: str,
    facts: list[SplitFacts],
    review: Review | None = None,
    cast: Sequence[Heard] = (),
) -> None:
    """Writes `README.md` of a dataset folder.

    Args:
        folder: the dataset folder.
        blueprint: what the corpus was made from.
        tts_model: what spoke.
        facts: of its splits.
        review: by people, if there was any.
        cast: who is heard, if speakers are cast.
    """
    recipe, plan = blueprint.recipe, blueprint.plan
    spoken = [fact for fact in facts if fact.subset in SUBSETS]
    rows = sum(fact.rows for fact in spoken)
    metadata = DatasetCardData(
        language=["en"],
        license="cc-by-4.0",
        pretty_name=recipe.name,
        annotations_creators=["machine-generated"],
        size_categories=[next((name for top, name in _SIZES if rows < top), _LARGEST_SIZE)],
        task_categories=["audio-to-audio", "text-to-speech"],
        tags=["audio", "synthetic", "emotion", "spoken-dialogue", "valence-arousal"],
        configs=_configs(facts),
        dataset_info=_dataset_info(facts, plan.columns),
    )
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    body = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        recipe=recipe,
        anchors=list(plan.anchors.values()),
        prompts_digest=blueprint.prompts.digest,
        tts_model=tts_model,
        facts=spoken,
        cast=cast,
        voices=_voices(recipe.speech, len(cast)),
        talks=DIALOGUE in plan.rooms,
        rooms=list(plan.rooms.values()),
        rows=rows,
        hours=sum(fact.seconds for fact in spoken) / 3600,
        queries=sum(slot.opens for slot in plan.queries()),
        counts=_counts(plan),
        imported=plan.layout is not None,
        review=review,
        bibtex_key=re.sub(r"[^a-z0-9]", "", recipe.name.lower()),
    )
    text = f"---\n{metadata.to_yaml()}\n---\n\n{body.strip()}\n"
    (folder / CARD).write_text(text, encoding="utf-8")


def _voices(speech: Speech, cast: int) -> str:
    """How many voices there are: the cast's, and a single one where one role has none."""
    if not cast:
        return "two"
    return str(cast + (not speech.query_voices) + (not speech.response_voices))


def add_figures(folder: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[Path]:
    """Puts a table of an evaluation's figures into the card of a dataset, in place of earlier ones.

    Returns:
        The files that changed: the card, and the manifest, which lists it.

    Raises:
        InvalidInput: the folder has no manifest.
        OSError: the disk is full or fails.
    """
    card = folder / CARD
    text = card.read_text(encoding="utf-8")
    before, _, rest = text.partition(_FIGURES_BEGIN)
    after = rest.partition(_FIGURES_END)[2] if rest else ""
    lines = ["| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows)]
    section = "\n".join((_FIGURES_BEGIN, FIGURES_SAID, "", *lines, _FIGURES_END))
    write_whole(card, f"{before.rstrip()}\n\n{section}{after or chr(10)}".encode())
    manifest = read_manifest(folder)
    files = manifest.files | {CARD: facts_of(card)}
    write_manifest(folder, manifest.model_copy(update={"files": files}))
    return [card, folder / NAME]


def _counts(plan: Plan) -> dict[str, Counter[tuple[str, str]]]:
    """Pairs by the anchor of the response, then by subset and split."""
    counts: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in plan.anchors}
    for pair in plan.pairs():
        counts[pair.anchor][pair.query.subset, pair.query.split] += 1
    return counts


def _parts(facts: list[SplitFacts]) -> dict[str, list[SplitFacts]]:
    """The facts that each Hub config covers: all pairs, each subset, all pairs without audio."""
    parts = {"default": [fact for fact in facts if fact.subset in SUBSETS]}
    for name in (*SUBSETS, TEXT):
        own = [fact for fact in facts if fact.subset == name]
        if own:
            parts[name] = own
    return parts


def _configs(facts: list[SplitFacts]) -> list[dict[str, object]]:
    configs: list[dict[str, object]] = []
    for name, part in _parts(facts).items():
        # A file with 'eval' in its name would be taken for the test split unless it is said here.
        files = [
            {
                "split": split,
                "path": [f"data/{f.subset}/{split}-*.parquet" for f in part if f.split == split],
            }
            for split in SPLITS
            if any(fact.split == split for fact in part)
        ]
        configs.append({"config_name": name, "data_files": files})
    configs[0]["default"] = True
    return configs


def _feature(name: str, feature: dict[str, Any]) -> dict[str, object]:
    """A feature in the notation of the card's metadata."""
    match feature.get("_type"):
        case "Audio":
            return {"name": name, "dtype": {"audio": {"sampling_rate": feature["sampling_rate"]}}}
        case "List":  # of records
            return {
                "name": name,
                "list": [_feature(*field) for field in feature["feature"].items()],
            }
    return {"name": name, "dtype": feature["dtype"]}


def _dataset_info(facts: list[SplitFacts], added: tuple[str, ...]) -> list[dict[str, object]]:
    everything = [_feature(name, feature) for name, feature in features(added).items()]
    texts = [feature for feature in everything if feature["name"] not in SOUNDS]
    infos: list[dict[str, object]] = []
    for name, part in _parts(facts).items():
        splits = [
            {
                "name": split,
                "num_bytes": sum(fact.bytes for fact in part if fact.split == split),
                "num_examples": sum(fact.rows for fact in part if fact.split == split),
            }
            for split in SPLITS
            if any(fact.split == split for fact in part)
        ]
        size = sum(fact.bytes for fact in part)
        infos.append(
            {
                "config_name": name,
                "features": texts if name == TEXT else everything,
                "splits": splits,
                "download_size": size,
                "dataset_size": size,
            }
        )
    return infos
