"""A workbench without processes of its own, and rows with planted truths."""

from concurrent.futures import Future

import numpy as np
import pandas as pd
import pytest

from corpus.evaluation.systems import COLUMNS
from corpus.evaluation.workbench import Workbench
from corpus.run.progress import Progress
from corpus.sound.prosody import FEATURES
from corpus.store.opening import open_store
from schemas.recipe_evaluation import Evaluation
from tests.support.line import shared_embedder

PLACES = {
    "happy": (0.85, 0.35),
    "angry": (-0.85, 0.85),
    "sad": (-0.75, -0.65),
    "tired": (-0.2, -0.8),
}


class Here:
    """Computes where it is asked to, for functions that take no time."""

    at_once = 1

    def submit(self, function, *arguments):
        done = Future()
        done.set_result(function(*arguments))
        return done

    def wait_for(self, future):
        return future.result()


@pytest.fixture
def bench(tmp_path):
    with open_store(tmp_path / "store") as store:
        embedder = shared_embedder("sentence-transformers/all-MiniLM-L6-v2")
        yield Workbench(Evaluation(), store, Here(), embedder, Progress(None))


def answers(queries=12, subset="neutral", text=lambda query, emotion: f"{emotion} {query}."):
    """A response to each of so many queries for each of four emotions, not measured yet."""
    rows = [
        {
            "id": f"{subset}-{query:05}-{emotion}",
            "query_id": f"{subset}-{query:05}",
            "subset": subset,
            "emotion": emotion,
            "valence": valence,
            "arousal": arousal,
            "status": "ok",
            "text": text(query, emotion),
        }
        for query in range(queries)
        for emotion, (valence, arousal) in PLACES.items()
    ]
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    table = table.set_index("id", drop=False).rename_axis(None)
    return table.assign(
        **dict.fromkeys((*FEATURES, "seconds", "mos"), np.nan), heard=None, problem=None
    )


def follow_the_point(rows, noise=0.1):
    """Rows whose features follow the target's point, but for some noise."""
    draw = np.random.default_rng(3)
    measured = {
        name: rows["arousal"] + 0.3 * number * rows["valence"] + draw.normal(0, noise, len(rows))
        for number, name in enumerate(FEATURES)
    }
    return rows.assign(**measured)
