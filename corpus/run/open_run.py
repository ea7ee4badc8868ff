"""A run at work: what is to be made, and where what was made of it is found."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from corpus.plan.blueprint import Blueprint
from corpus.run.budget import Budget
from corpus.run.progress import Progress
from corpus.run.run_folder import RunFolder
from corpus.run.strikes import Strikes
from corpus.run.up_to_date import Stamp
from corpus.store.clips import DamagedClip
from corpus.store.digest_store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenRun:
    """What a stage needs to do its part of a run.

    Attributes:
        blueprint: what is to be made.
        folder: where its tables lie.
        store: holds every answer and clip that was paid for.
        progress: is told of every slot that is filled.
        in_review: what people struck, by digest of text or clip, with who did and why.
        budget: is asked before anything is asked of a server.
        strikes: the texts and clips that are not to stay.
    """

    blueprint: Blueprint
    folder: RunFolder
    store: Store
    progress: Progress
    in_review: Mapping[str, str] = field(default_factory=dict)
    budget: Budget = field(init=False)
    strikes: Strikes = field(init=False)

    def __post_init__(self) -> None:
        budget = Budget(self.blueprint.recipe, self.store, self.progress)
        object.__setattr__(self, "budget", budget)  # how a frozen dataclass derives a field
        strikes = Strikes(self.folder.strikes, self.in_review)
        object.__setattr__(self, "strikes", strikes)

    def let_go_of_clip(self, damaged: DamagedClip) -> None:
        """Has another clip take the place of one that is damaged, in the corpus too.

        Raises:
            OSError, SympatheiaError: it cannot be removed.
        """
        log.warning("%s is %s; it is made again.", damaged.where, damaged.how)
        Stamp(self.folder.corpus_stamp, self.folder.corpus).drop()
        self.store.let_go_of_clip(damaged.digest)
