"""Under which conditions the queries of a corpus are answered: what the model is told of feelings.

- `affect`: the point of the anchor that the response is to fit;
- `none`: that it is not told, in the form that was trained;
- `bare`: nothing at all, as some of the published scripts ask;
- `affect~SIGMA`: the point with noise on both axes, for the study of how much the point matters;
- `affect*R`: the point drawn to the middle of the plane, for the study of what lies between.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from corpus.adapter.prompt_template import BARE
from corpus.errors import InvalidInput

AFFECT, NONE, PLAIN = "affect", "none", "bare"
CONDITIONS = (AFFECT, NONE, PLAIN)


@dataclass(frozen=True, slots=True)
class Condition:
    """One of them.

    Attributes:
        name: as in the column `condition`.
        sigma: standard deviation of the noise on each axis.
        scale: what both coordinates are multiplied with.
    """

    name: str
    sigma: float = 0.0
    scale: float = 1.0

    def affect(self, valence: float, arousal: float, seed: int) -> tuple[float, float] | str | None:
        """What the prompt is made of: a point, None for that it is not told, or `BARE`.

        Args:
            valence: Of the target.
            arousal: Of the target.
            seed: Of the noise.
        """
        if self.name == NONE:
            return None
        if self.name == PLAIN:
            return BARE
        noise = Random(seed)
        valence, arousal = (
            # As it stands in the prompt; zero is added for want of a sign on it.
            round(min(1.0, max(-1.0, value * self.scale + noise.gauss(0.0, self.sigma))), 2) + 0.0
            if self.sigma or self.scale != 1.0
            else value
            for value in (valence, arousal)
        )
        return valence, arousal


def conditions_of(
    names: Sequence[str], sigmas: Iterable[float], scales: Iterable[float] = ()
) -> list[Condition]:
    """The conditions that were asked for, each once; `affect` if none was.

    Raises:
        InvalidInput: there is no such condition, a sigma is not above 0 and at most 2, or a scale
            is not at least 0 and below 1.
    """
    for name in names:
        if name not in CONDITIONS:
            raise InvalidInput(f"There is no condition {name!r}; {', '.join(CONDITIONS)} are.")
    found = [Condition(name) for name in dict.fromkeys(names)]
    for sigma in dict.fromkeys(sigmas):
        if not 0 < sigma <= 2:
            raise InvalidInput(
                f"--noise: {sigma} is no standard deviation on a plane from -1 to 1; give one "
                "above 0 and at most 2."
            )
        found.append(Condition(f"{AFFECT}~{sigma:g}", sigma))
    for scale in dict.fromkeys(scales):
        if not 0 <= scale < 1:
            raise InvalidInput(
                f"--scale: {scale} does not draw a point to the middle; give a number from 0, the "
                "middle itself, to below 1."
            )
        found.append(Condition(f"{AFFECT}*{scale:g}", scale=scale))
    return found or [Condition(AFFECT)]


def seed_of(*parts: object) -> int:
    """A seed that follows from what it is for, within 63 bits."""
    return int.from_bytes(sha256("/".join(map(str, parts)).encode()).digest()[:8]) >> 1
