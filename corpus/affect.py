"""From what a sensing module believes of a user's emotion to a point of the valence-arousal plane.

A classifier of emotions gives a probability for each of its own labels. The anchors say where each
emotion lies, and the point is their mean, weighted by the probabilities.
"""

from collections.abc import Mapping
from functools import cache
from math import fsum

from corpus.plan.prompt_files import BUNDLED, read_anchors
from schemas.prompts import AnchorFile, Point

SUM_TOLERANCE = 0.01
"""How far the probabilities may be from 1 together: a softmax in bfloat16 is off by up to 0.004, a
table rounded to three digits by 0.006."""


@cache
def _bundled() -> AnchorFile:
    return read_anchors(BUNDLED)


def expected_affect(
    probabilities: Mapping[str, float], anchors: AnchorFile | None = None
) -> tuple[float, float]:
    """The expected valence and arousal, each in [-1, 1].

    Args:
        probabilities: By label: an anchor's name, or a label of another dataset that stands for
            one (`aliases` of `anchors.yaml`), in any case.
        anchors: Of a prompts folder (`corpus.plan.prompt_files.read_anchors`); the bundled ones if
        None.

    Raises:
        ValueError: A label is unknown, a probability is negative or not a number, or they do not
            sum to 1.
    """
    anchors = anchors or _bundled()
    points = {anchor.name: anchor.point for anchor in anchors.anchors}
    points |= {label.lower(): points[name] for label, name in anchors.aliases.items()}
    weighted: list[tuple[float, Point]] = []
    for label, probability in probabilities.items():
        if label.lower() not in points:
            raise ValueError(
                f"'{label}' is neither an anchor nor an alias of one; known are "
                f"{', '.join(points)}."
            )
        if not probability >= 0:  # which a NaN is not, either
            raise ValueError(
                f"The probability of '{label}' is {probability}; none may be negative or no number."
            )
        weighted.append((probability, points[label.lower()]))
    total = fsum(probability for probability, _ in weighted)
    if not abs(total - 1) <= SUM_TOLERANCE:
        raise ValueError(f"The probabilities sum to {total:.4g}; they have to sum to 1.")
    return (
        fsum(probability * point.valence for probability, point in weighted),
        fsum(probability * point.arousal for probability, point in weighted),
    )
