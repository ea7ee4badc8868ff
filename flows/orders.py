"""What an order for a corpus means on this machine, found out before anything runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from corpus.errors import InvalidInput
from corpus.plan.blueprint import Blueprint
from corpus.plan.user_input import at_home
from corpus.run.run_folder import RunFolder
from corpus.sound.clip_rejection_rules import clip_rules
from corpus.sound.speaker_likeness import OTHER_SPEAKER, require_network
from corpus.speech.builtin_voice import require_speakers
from corpus.text.annotation.empathy import annotation_rules
from corpus.text.text_stage import require_openings
from corpus.text.wording.text_rules import TextRules
from schemas.names import STAGES
from schemas.orders import CorpusOrder


@dataclass(frozen=True, slots=True)
class Resolved:
    """What an order has made, and where."""

    blueprint: Blueprint
    folder: RunFolder


_handed_on: dict[CorpusOrder, Resolved] = {}


@contextmanager
def resolved(order: CorpusOrder) -> Iterator[Resolved]:
    """What an order means; until the block ends, who resolves it again is given the same.

    Raises:
        InvalidInput: see `resolve`.
    """
    _handed_on[order] = resolve(order)
    try:
        yield _handed_on[order]
    finally:
        del _handed_on[order]


def resolve(order: CorpusOrder) -> Resolved:
    """Reads what an order for a corpus names, and refuses what cannot be built.

    Raises:
        InvalidInput: the recipe, an override, a rule, the prompts or a voice cannot be used, or a
            training is to follow a dataset that is not made.
    """
    if order in _handed_on:
        return _handed_on[order]
    if order.then_train and order.until != STAGES[-1]:
        raise InvalidInput(
            f"A training is to follow (then_train), but the build ends with {order.until} and "
            f"makes no dataset. Set until to '{STAGES[-1]}', or leave then_train out."
        )
    if order.review and order.until != STAGES[-1]:
        raise InvalidInput(
            f"People are to review before the dataset is packed (review), but the build ends with "
            f"{order.until} and packs none. Set until to '{STAGES[-1]}', or leave review out."
        )
    blueprint = Blueprint.named(order.recipe, order.overrides)
    if order.until == "queries":
        require_openings(blueprint.plan)
    TextRules(blueprint)  # refuses what the recipe says of rules that there are not
    annotation_rules(blueprint.recipe.annotate.rules)  # likewise
    rules = clip_rules(blueprint.recipe.speech.rules)  # likewise
    if blueprint.plan.cast and rules.asks(OTHER_SPEAKER):
        require_network()
    if blueprint.recipe.speech.backend == "builtin":
        require_speakers(blueprint.recipe.speech)
    folder = at_home(str(order.run_dir or Path("runs", blueprint.recipe.name)), "run_dir")
    return Resolved(blueprint, RunFolder(Path(folder)))
