"""Accepted texts on their way from the text stage to the voice, while both are at work."""

from collections import deque
from collections.abc import Callable

from schemas.slots import PairSlot, QuerySlot

ROOM = 4096
"""Texts that wait for the voice at most: minutes of work for a fast one, a megabyte of memory."""

LOOK_EVERY_SECONDS = 0.05
"""How often a voice that has spoken all looks for more: nothing beside the seconds a clip takes."""


class AcceptedTexts:
    """Hands texts on, from the thread that accepts them to the one in which they are spoken.

    Who writes never waits: a text that finds no room is left out. So who takes texts from here goes
    through all of them once more at the end.

    Args:
        text_of: gives a text, by the digest of the request that made it.
        room: how many may wait.

    Attributes:
        ended: whether every text is written.
    """

    def __init__(self, text_of: Callable[[str], str], room: int = ROOM) -> None:
        self._text_of = text_of
        self._room = room
        self._waiting: deque[tuple[QuerySlot | PairSlot, str]] = deque()
        self.ended = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, slot: QuerySlot | PairSlot, digest: str) -> None:
        """Hands on the text that fills a slot for good, if there is room."""
        if len(self._waiting) < self._room:
            self._waiting.append((slot, digest))

    def end(self) -> None:
        """Says that every text is written, and on file."""
        self.ended = True

    def take(self) -> tuple[QuerySlot | PairSlot, str] | None:
        """A slot and its text; None if none waits.

        Raises:
            SympatheiaError: the store has lost the text.
        """
        if not self._waiting:
            return None
        slot, digest = self._waiting.popleft()
        return slot, self._text_of(digest)
