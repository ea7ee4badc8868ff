"""The one shape of a measure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from corpus.evaluation.clip_measures import Kind
from corpus.evaluation.workbench import Workbench

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that a system is judged by.

    Attributes:
        name: in `evaluation.json` and behind `--metrics`.
        about: what a person should know of it.
        hears: what has to be measured of each clip before.
        of: computes its figures from a system's rows (`systems.COLUMNS` and what `clip_measures`
            adds); None where the rows cannot give any.
    """

    name: str
    about: str
    hears: frozenset[Kind]
    of: Callable[[pd.DataFrame, Workbench], Figures | None]
