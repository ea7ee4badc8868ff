"""The manifest of a dataset folder: what it was planned to be, and what its files are.

It travels with the dataset, so whoever has the folder, from the Hub perhaps, can check it without
the run that made it.
"""

from hashlib import file_digest
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from corpus.errors import InvalidInput
from corpus.git_lfs import POINTER, is_pointer
from corpus.plan.blueprint import Blueprint
from corpus.plan.prompt_files import Prompts
from corpus.plan.subsets.registry import ROOMS
from corpus.plan.user_input import decoded, explain
from corpus.store.files import write_whole
from schemas.prompts import (
    AnchorFile,
    Phrases,
    RuleFile,
    SpeakerFile,
    TopicFile,
    TrajectoryFile,
)
from schemas.recipe import (
    Annotate,
    Dedup,
    Dialogue,
    Emotional,
    Grid,
    Neutral,
    Recipe,
    RuleName,
    RuleSetting,
    Speech,
    Split,
    Text,
)
from schemas.recipe_speech import SpeakerNames

NAME = "manifest.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


def _within_the_folder(name: str) -> str:
    if not name.isprintable() or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError("a path within the folder is wanted")
    return name


FileName = Annotated[str, AfterValidator(_within_the_folder)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileFacts(_Part):
    """Size, SHA-256 and, of a Parquet file, rows."""

    bytes: Count
    sha256: Sha256
    rows: Count | None = None


class Voice(_Part):
    """How the corpus was spoken; loudness in LUFS of a plain delivery."""

    query_voice: str
    response_voice: str
    loudness: float
    query_voices: SpeakerNames = ()
    response_voices: SpeakerNames = ()
    eval_voices: SpeakerNames = ()


class Manifest(_Part):
    """What `check` needs to know of a dataset, and nothing of where it was made.

    `text_rules` and `clip_rules` are what the recipe said of rules, and are left out where it said
    nothing, as are optional subsets of which the corpus has none, a cast that it has not and
    `empathy`, whether each pair is annotated, where it is not. `layout`, of a corpus that was
    imported, has its slots by cell (see `corpus.plan.slot_layout.LAYOUT`).
    """

    format: Literal[1] = 1
    name: str
    seed: int
    anchors: tuple[str, ...]
    emotional: Emotional
    neutral: Neutral
    grid: Grid = Grid()
    dialogue: Dialogue = Dialogue()
    split: Split
    dedup: Dedup
    voice: Voice
    prompts_digest: Sha256
    anchor_file: AnchorFile
    topic_file: TopicFile
    trajectory_file: TrajectoryFile | None = None
    rules: RuleFile
    empathy: bool = False
    speaker_file: SpeakerFile | None = None
    text_rules: dict[RuleName, RuleSetting] = {}
    clip_rules: dict[RuleName, RuleSetting] = {}
    layout: dict[str, Annotated[str, Field(pattern=r"^[te-]*$")]] | None = None
    files: dict[FileName, FileFacts]

    def blueprint(self) -> Blueprint:
        """What was to be made; its prompts have no templates, and no folder.

        Raises:
            ValidationError: no recipe has these values together.
            InvalidInput: an anchor is not among the prompts.
        """
        recipe = Recipe(
            name=self.name,
            seed=self.seed,
            anchors=self.anchors,
            emotional=self.emotional,
            neutral=self.neutral,
            grid=self.grid,
            dialogue=self.dialogue,
            split=self.split,
            dedup=self.dedup,
            text=Text(rules=self.text_rules),
            annotate=Annotate(empathy=self.empathy),
            speech=Speech(**self.voice.model_dump(), rules=self.clip_rules),
        )
        prompts = Prompts(
            Path(NAME),
            "",
            self.anchor_file,
            self.topic_file,
            self.rules,
            trajectory_file=self.trajectory_file,
            speaker_file=self.speaker_file,
        )
        return Blueprint.of(recipe, prompts, self.layout)


def describe(folder: Path, blueprint: Blueprint, rows: dict[Path, int]) -> None:
    """Writes the manifest of a dataset folder whose other files are complete.

    Args:
        folder: the dataset folder.
        blueprint: what it was made from.
        rows: the number of rows of each Parquet file.

    Raises:
        OSError: a file cannot be read, or the disk is full.
    """
    recipe, prompts, plan = blueprint.recipe, blueprint.prompts, blueprint.plan
    speech = recipe.speech
    manifest = Manifest(
        name=recipe.name,
        seed=recipe.seed,
        anchors=tuple(plan.anchors),
        emotional=recipe.emotional,
        neutral=recipe.neutral,
        grid=recipe.grid,
        dialogue=recipe.dialogue,
        split=recipe.split,
        dedup=recipe.dedup,
        voice=Voice(**{name: getattr(speech, name) for name in Voice.model_fields}),
        prompts_digest=prompts.digest,
        anchor_file=prompts.anchor_file,
        topic_file=prompts.topic_file,
        trajectory_file=prompts.trajectory_file,
        rules=prompts.rules,
        empathy=recipe.annotate.empathy,
        speaker_file=prompts.speaker_file,
        text_rules=recipe.text.rules,
        clip_rules=speech.rules,
        layout=dict(plan.layout) if plan.layout is not None else None,
        files={
            path.relative_to(folder).as_posix(): facts_of(path, rows.get(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    )
    write_manifest(folder, manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes a manifest into its dataset folder.

    Raises:
        OSError: the disk is full or fails.
    """
    said = {
        "text_rules": manifest.text_rules,
        "clip_rules": manifest.clip_rules,
        "empathy": manifest.empathy,
    }
    unsaid: dict[str, Any] = {name: True for name, value in said.items() if not value}
    unsaid |= {
        name: True
        for name, room in ROOMS.items()
        if room.optional and not getattr(getattr(manifest, name), room.size)
    }
    if manifest.trajectory_file is None:
        unsaid["trajectory_file"] = True
    voice = manifest.voice
    unsaid["voice"] = {name for name in Voice.model_fields if not getattr(voice, name)}
    if manifest.speaker_file is None:
        unsaid["speaker_file"] = True
    if manifest.rules.harmful == Phrases():  # as in the prompts of an earlier release
        unsaid["rules"] = {"harmful"}
    content = manifest.model_dump_json(indent=1, exclude=unsaid)
    write_whole(folder / NAME, (content + "\n").encode())


def facts_of(path: Path, rows: int | None = None) -> FileFacts:
    """What a manifest says of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return FileFacts(bytes=path.stat().st_size, sha256=digest, rows=rows)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a dataset folder.

    Raises:
        InvalidInput: there is none, or it was edited into something else.
    """
    return opened_manifest(folder)[0]


def opened_manifest(folder: Path) -> tuple[Manifest, Blueprint]:
    """The manifest of a dataset folder, and what was to be made by it.

    Raises:
        InvalidInput: as `read_manifest`.
    """
    path = folder / NAME
    try:
        if is_pointer(path):
            raise InvalidInput(f"{path} is {POINTER}.")
        manifest = Manifest.model_validate_json(decoded(path.read_bytes(), str(path)))
        return manifest, manifest.blueprint()
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInput(
            f"{folder} is not a dataset folder of this project: it has no {NAME}. A run has its "
            "dataset once it is built to the end; name a run folder, or the corpus/ folder in it."
        ) from None
    except ValidationError as error:
        raise InvalidInput(
            f"{path}: {explain(error)}. Build the corpus again from its run folder, or fetch the "
            "dataset anew."
        ) from error
