"""The dataset card: what a reader and the Hub must know, generated from the corpus itself."""

from dataclasses import dataclass
from pathlib import Path

import jinja2
from huggingface_hub import DatasetCardData

from corpus.plan import Plan
from corpus.prompts import Prompts
from schemas.recipe import Recipe
from schemas.slots import SPLITS, SUBSETS
from schemas.tables import FEATURES

TEMPLATE = Path(__file__).with_name("card.md.jinja")

# Upper bounds and names of the Hub's size categories.
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST_SIZE = "1M<n<10M"


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """What was written of one split of one subset; `seconds` counts queries and responses."""

    subset: str
    split: str
    rows: int
    files: list[Path]
    seconds: float

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(path.stat().st_size for path in self.files)


def write_card(
    folder: Path,
    recipe: Recipe,
    prompts: Prompts,
    plan: Plan,
    tts_model: str,
    facts: list[SplitFacts],
) -> None:
    """Writes `README.md` of a dataset folder."""
    rows = sum(fact.rows for fact in facts)
    metadata = DatasetCardData(
        language=["en"],
        license="cc-by-4.0",
        pretty_name=recipe.name,
        annotations_creators=["machine-generated"],
        size_categories=[next((name for top, name in _SIZES if rows < top), _LARGEST_SIZE)],
        task_categories=["audio-to-audio", "text-to-speech"],
        tags=["audio", "synthetic", "emotion", "spoken-dialogue", "valence-arousal"],
        configs=_configs(facts),
        dataset_info=_dataset_info(facts),
    )
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    body = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        recipe=recipe,
        anchors=list(plan.anchors.values()),
        prompts_digest=prompts.digest,
        tts_model=tts_model,
        facts=facts,
        rows=rows,
        hours=sum(fact.seconds for fact in facts) / 3600,
        queries=plan.query_count,
    )
    text = f"---\n{metadata.to_yaml()}\n---\n\n{body.strip()}\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def _parts(facts: list[SplitFacts]) -> dict[str, list[SplitFacts]]:
    """The facts that each Hub config covers: everything by default, then each subset alone."""
    parts = {"default": facts}
    for subset in SUBSETS:
        own = [fact for fact in facts if fact.subset == subset]
        if own:
            parts[subset] = own
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


def _dataset_info(facts: list[SplitFacts]) -> list[dict[str, object]]:
    features = [
        {"name": name, "dtype": feature["dtype"]}
        if feature["_type"] == "Value"
        else {"name": name, "dtype": {"audio": {"sampling_rate": feature["sampling_rate"]}}}
        for name, feature in FEATURES.items()
    ]
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
                "features": features,
                "splits": splits,
                "download_size": size,
                "dataset_size": size,
            }
        )
    return infos
