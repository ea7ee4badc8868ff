"""The run folder: one recipe's work, where each thing lies in it, and who may work in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import filelock

from corpus.errors import InvalidInput, SympatheiaError
from corpus.plan.blueprint import Blueprint
from corpus.plan.recipe_files import dump_recipe, read_resolved
from corpus.store.files import write_whole
from schemas.recipe import Recipe

TRAINED = "checkpoints/done.json"
"""What came of a finished training, in the adapter's folder."""


class RunFolder:
    """Where a run keeps its things."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recipe = root / "recipe.toml"
        self.store = root / "store"
        self.decisions = root / "decisions.jsonl"
        self.strikes = root / "strikes.jsonl"
        self.reviews = root / "reviews.jsonl"
        self.progress = root / "progress.json"
        self.log = root / "log.jsonl"
        self.queries = root / "tables" / "queries.parquet"
        self.responses = root / "tables" / "responses.parquet"
        self.annotations = root / "tables" / "annotations.parquet"
        self.similarities = root / "tables" / "similarities.parquet"
        self.clips = root / "tables" / "clips.parquet"
        self.sound = root / "tables" / "sound.parquet"
        self.corpus_stamp = root / "tables" / "corpus.json"
        self.vllm_log = root / "vllm.log"
        self.rejects = root / "rejects.parquet"
        self.corpus = root / "corpus"
        self.sequences = root / "sequences"
        self.adapter = root / "adapter"
        self._lock = root / ".lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps every other build out of the folder; a build that dies lets go of it.

        Raises:
            SympatheiaError: another build is at work in the folder, or it cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self._lock, timeout=0)
            lock.acquire()
        except filelock.Timeout:
            raise SympatheiaError(
                f"Another build is at work in {self.root}. Wait for it or stop it, or give this "
                "one a folder of its own."
            ) from None
        except FileExistsError:
            raise SympatheiaError(
                f"{self.root} is a link that leads nowhere, or a file. Remove it, or give another "
                "run folder with --run-dir."
            ) from None
        except OSError as error:
            raise SympatheiaError(
                f"The run folder {self.root} cannot be written: {error.strerror}. Give another "
                "one with --run-dir."
            ) from error
        try:
            yield
        finally:
            lock.release()

    @property
    def busy(self) -> bool:
        """Whether a build is at work in the folder."""
        if not self._lock.exists():
            return False
        try:
            with filelock.FileLock(self._lock, timeout=0):
                return False
        except filelock.Timeout:
            return True

    def _has_recipe(self) -> bool:
        """Whether there is one; a crash of a release up to 0.2.0 may have left it empty."""
        return self.recipe.is_file() and bool(self.recipe.read_bytes().strip(b"\0"))

    def read_recipe(self) -> Recipe:
        """The recipe of the run.

        Raises:
            InvalidInput: this is not a run folder.
        """
        if not self._has_recipe():
            raise InvalidInput(
                f"{self.root} is not a run folder: it has no recipe.toml. 'sympatheia build' "
                "makes one."
            )
        return read_resolved(self.recipe.read_bytes(), str(self.recipe))

    def blueprint(self) -> Blueprint:
        """What the run is to make.

        Raises:
            InvalidInput: this is not a run folder, or its prompts folder is gone or incomplete.
        """
        return Blueprint.of(self.read_recipe())

    def adopt(self, blueprint: Blueprint) -> Blueprint:
        """Writes the recipe into the folder, if the folder is new or holds the same corpus.

        A run may grow and change (more pairs, more anchors, other prompts, models and servers):
        only what no longer fits is made anew. What would make it another corpus is refused.

        Returns:
            The blueprint as the run has it: with its own loudness, where the recipe says none, so
            that a release with another default has no clip made anew.

        Raises:
            InvalidInput: the folder holds another corpus.
        """
        if self._has_recipe():
            there = self.read_recipe()
            _same_corpus(self.root, there, blueprint.recipe)
            blueprint = replace(blueprint, recipe=_with_loudness(blueprint.recipe, there))
        elif self.decisions.exists() or self.corpus.exists():
            raise InvalidInput(
                f"{self.root} holds a run's work but no recipe.toml. Put the file back; if it is "
                "lost, have the same recipe and settings write one with --until plan and another "
                "--run-dir, and copy it here."
            )
        write_whole(self.recipe, dump_recipe(blueprint.recipe, blueprint.prompts))
        return blueprint


def _with_loudness(recipe: Recipe, there: Recipe) -> Recipe:
    if "loudness" in recipe.speech.model_fields_set:
        return recipe
    speech = recipe.speech.model_copy(update={"loudness": there.speech.loudness})
    return recipe.model_copy(update={"speech": speech})


def _same_corpus(root: Path, old: Recipe, new: Recipe) -> None:
    for key, there, here in (
        ("name", old.name, new.name),
        ("seed", old.seed, new.seed),
        ("split.eval_fraction", old.split.eval_fraction, new.split.eval_fraction),
        ("dedup.threshold", old.dedup.threshold, new.dedup.threshold),
        ("dedup.model", old.dedup.model, new.dedup.model),
    ):
        if there != here:
            raise InvalidInput(
                f"{root} holds the run of another recipe: its {key} is {there}, this one's is "
                f"{here}. Give another folder with --run-dir (copy {root / 'store'} into it, and "
                "what both have in common is not asked again)."
            )
