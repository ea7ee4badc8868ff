"""The card of an adapter: what a reader and the Hub must know, from the facts of its training."""

from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, field_validator

from corpus.errors import InvalidInput
from corpus.hub.hub_upload import CARD
from corpus.store.files import write_whole

FACTS = "training.json"
TEMPLATE = Path(__file__).with_name("adapter_card.md.jinja")

PUBLISHED_BASE = "THUDM/glm-4-voice-9b"


class AdapterFacts(BaseModel):
    """What was trained, on what, and how well.

    Attributes:
        name: Of the adapter, for a reader.
        base: The base model: its name on the Hub, or its folder, of which the last name is kept.
        base_is_random: Whether the base's weights are random, so that this is a demonstration.
        corpus: The name of the corpus.
        prompts_digest: SHA-256 of the prompts the corpus was written from.
        pairs: How many pairs there are of each split.
        settings: Hyperparameters by their usual names.
        steps: The optimizer's, at the adapter that was kept.
        losses: By name, in the order they are to be shown.
        datasets: Names of the corpus on the Hub, where it is there.
    """

    # A loss that is not a number must not cost the card of a long training.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    name: str
    base: str
    base_is_random: bool
    corpus: str
    prompts_digest: str
    pairs: dict[str, int]
    settings: dict[str, JsonValue]
    steps: int
    losses: dict[str, float]
    datasets: tuple[str, ...] = ()

    @field_validator("base", mode="before")
    @classmethod
    def _without_path(cls, base: object) -> object:
        """Keeps a folder's last name alone: no card tells a path of the machine it was made on."""
        if isinstance(base, str | Path) and Path(base).is_dir():
            return Path(base).resolve().name
        return base

    @property
    def base_model(self) -> str | None:
        """What the Hub is told: a folder that is not random is taken to be the published model."""
        if "/" not in self.base and not self.base_is_random:
            return PUBLISHED_BASE
        try:
            validate_repo_id(self.base)
        except HFValidationError:
            return None
        return self.base


def write_adapter_card(folder: Path, facts: AdapterFacts) -> None:
    """Writes `README.md` of an adapter folder, and `training.json`, the facts it is made from."""
    metadata = ModelCardData(
        language="en",
        license="apache-2.0",
        base_model=facts.base_model,
        base_model_relation="adapter",
        library_name="peft",
        pipeline_tag="audio-to-audio",
        tags=["lora", "speech", "spoken-dialogue", "emotion", "valence-arousal"],
        datasets=list(facts.datasets) or None,
    )
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters["shown"] = _shown
    body = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        facts=facts, published=facts.base_model == PUBLISHED_BASE
    )
    text = f"---\n{metadata.to_yaml()}\n---\n\n{body.strip()}\n"
    write_whole(folder / FACTS, (facts.model_dump_json(indent=2) + "\n").encode())
    write_whole(folder / CARD, text.encode())


def read_facts(folder: Path) -> AdapterFacts:
    """The facts of an adapter, to make its card again.

    Raises:
        InvalidInput: they are missing or damaged.
    """
    path = folder / FACTS
    try:
        return AdapterFacts.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InvalidInput(f"{folder} holds no {FACTS}, which its card is made from.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{path} is damaged: {place} {first['msg']}".rstrip() + ".") from None


def _shown(value: Any) -> str:  # noqa: ANN401  (of a setting, which is any JSON)
    """A value as a reader of a table wants it."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
