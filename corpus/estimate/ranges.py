"""A number between two bounds, for what is estimated."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """What lies, as a rule, between `low` and `high`."""

    low: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def times(self, low: float, high: float | None = None) -> "Range":
        """Scaled by a factor, or by a factor that itself lies between two bounds."""
        return Range(self.low * low, self.high * (low if high is None else high))


NOTHING = Range(0.0, 0.0)


def total(ranges: list[Range]) -> Range:
    """The sum; of none, nothing."""
    return sum(ranges, NOTHING)
