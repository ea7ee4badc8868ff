"""A run at work: what is to be made, and where what was made of it is found."""

from dataclasses import dataclass, field

from corpus.plan.blueprint import Blueprint
from corpus.run.budget import Budget
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.store.digest_store import Store


@dataclass(frozen=True, slots=True)
class OpenRun:
    """What a stage needs to do its part of a run.

    Attributes:
        blueprint: what is to be made.
        folder: where its tables lie.
        store: holds every answer and clip that was paid for.
        progress: is told of every slot that is filled.
        budget: is asked before anything is asked of a server.
    """

    blueprint: Blueprint
    folder: RunFolder
    store: Store
    progress: Progress
    budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        budget = Budget(self.blueprint.recipe, self.store, self.progress)
        object.__setattr__(self, "budget", budget)  # how a frozen dataclass derives a field
