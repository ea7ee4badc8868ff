"""Numbers that are drawn from a recipe's seed and the names of things."""

import hashlib
import random
from functools import lru_cache


def derive(*parts: object) -> int:
    """A 31-bit seed from names and numbers: SHA-256, so it is the same on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFFFFFF


@lru_cache(maxsize=4096)
def shuffled(size: int, *parts: object) -> tuple[int, ...]:
    """The numbers below `size` in an order that is drawn from names and numbers."""
    order = list(range(size))
    random.Random(derive(*parts)).shuffle(order)
    return tuple(order)
