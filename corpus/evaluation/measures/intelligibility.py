"""Can it be understood? The word error rate of what a recogniser hears against the text."""

from collections.abc import Callable

import pandas as pd

from corpus.evaluation.clip_measures import HEARD
from corpus.evaluation.measures.measure import Figures, Measure
from corpus.evaluation.statistics import by_anchor
from corpus.evaluation.workbench import Workbench
from corpus.sound.word_error_rate import plain_words, spoken_words, word_errors

NORMALISERS: dict[str, Callable[[str], str]] = {"spoken": spoken_words, "whisper": plain_words}
ERRORS, WORDS, RATE = "errors", "words", "word_error_rate"


def with_word_errors(rows: pd.DataFrame, bench: Workbench) -> pd.DataFrame:
    """Rows with the errors, the words and the rate of each text; null where there is no text.

    A response that was not heard, for want of a whole sound file perhaps, has every word wrong.
    """
    in_one_form = NORMALISERS[bench.settings.normaliser]

    def errors(text: object, heard: object) -> tuple[float, float, float]:
        said = in_one_form(text) if isinstance(text, str) else ""
        if not said:
            return float("nan"), float("nan"), float("nan")
        wrong, words = word_errors(said, in_one_form(heard) if isinstance(heard, str) else "")
        return wrong, words, wrong / words

    found = [errors(*pair) for pair in zip(rows["text"], rows[HEARD], strict=True)]
    return rows.assign(**pd.DataFrame(found, [*rows.index], [ERRORS, WORDS, RATE]))


def intelligibility(rows: pd.DataFrame, bench: Workbench) -> Figures | None:
    """The rate over the whole corpus, the mean of the responses' rates, and what failed."""
    if not rows[HEARD].notna().any():
        return None
    counted = with_word_errors(rows, bench)
    if not counted[WORDS].sum():
        return None
    rates = by_anchor(counted[RATE], counted, bench.seed)
    return {
        "wer_corpus": round(float(counted[ERRORS].sum() / counted[WORDS].sum()), 4),
        "wer_mean": rates.pop("all"),
        "by_anchor": rates,
        "failures": int((counted[WORDS].notna() & counted[HEARD].isna()).sum()),
        "normaliser": bench.settings.normaliser,
    }


MEASURE = Measure(
    "intelligibility",
    "Word error rate of a recogniser's transcript against the text that was to be said: over all "
    "words, and as the mean of the responses' rates. What could not be heard counts as 100 %.",
    frozenset({"words"}),
    intelligibility,
)
