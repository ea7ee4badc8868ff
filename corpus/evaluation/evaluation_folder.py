"""Where an evaluation reads and writes, and with which settings, found out before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from corpus.errors import InvalidInput
from corpus.evaluation.measures.registry import JUDGE, chosen
from corpus.plan.prompt_files import BUNDLED
from corpus.plan.recipe_files import load_recipe, with_overrides
from corpus.run.run_folder import RunFolder
from corpus.store.files import write_whole
from schemas.names import EVALUATION, EVALUATION_PAGE
from schemas.orders import EvaluationOrder
from schemas.recipe_evaluation import Evaluation

MEMORY = ".evaluation"
"""The folder beside the figures that remembers what was computed and asked. Its dot keeps it out of
what is published and checked of a dataset folder."""
DEFAULTS = "sympatheia-18k"
"""The recipe whose settings hold where the first folder is no run."""


@dataclass(frozen=True, slots=True)
class EvaluationFolder:
    """What an order for an evaluation means.

    Attributes:
        folders: of the systems.
        target: where the figures and the page go.
        settings: with what it judges.
        dask: the address of a cluster's scheduler; empty: processes of this machine.
        metrics: the names of the measures, in their order.
        prompts: the folder whose rubrics the judge is asked by.
    """

    folders: tuple[Path, ...]
    target: Path
    settings: Evaluation
    dask: str
    metrics: tuple[str, ...]
    prompts: Path

    @classmethod
    def of(cls, order: EvaluationOrder) -> "EvaluationFolder":
        """What an order means.

        Raises:
            InvalidInput: a setting or a measure is not known, or the first folder's recipe is
                damaged.
        """
        first = RunFolder(order.folders[0])
        recipe = first.read_recipe() if first.recipe.is_file() else load_recipe(DEFAULTS)
        recipe = with_overrides(recipe, order.overrides, ("evaluation", "compute"))
        if JUDGE in order.metrics and not recipe.evaluation.judge.model:
            raise InvalidInput(
                "--metrics judge: no judge is named. Give a model that hears and its servers with "
                "--set evaluation.judge.model and --set evaluation.judge.endpoints."
            )
        return cls(
            order.folders,
            order.output or first.root,
            recipe.evaluation,
            recipe.compute.dask,
            tuple(chosen(order.metrics)),
            Path(recipe.prompts) if recipe.prompts else BUNDLED,
        )

    @property
    def memory(self) -> RunFolder:
        """The folder that remembers, with its store and its lock."""
        return RunFolder(self.target / MEMORY)

    @property
    def page(self) -> Path:
        """The page."""
        return self.target / EVALUATION_PAGE

    def write(self, facts: Mapping[str, Any]) -> Path:
        """Puts the figures on file; gives their path.

        Raises:
            OSError: the disk is full or fails.
        """
        path = self.target / EVALUATION
        options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
        write_whole(path, orjson.dumps(facts, option=options) + b"\n")
        return path


def named(metrics: Sequence[str]) -> tuple[str, ...]:
    """The names in a list as a person writes it, parted by commas."""
    return tuple(name.strip() for one in metrics for name in one.split(",") if name.strip())
