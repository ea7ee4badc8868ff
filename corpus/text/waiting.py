"""What the text stage may ask by now, and in which order.

That is: another attempt at a query that opens, for decisions behind it wait for it; what a guard or
a judge says of a pair; another attempt at what follows; then by turns a slot's first query and what
follows on texts that stand.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from corpus.text.choice import Attempt
from corpus.text.responses import Due

Job = TypeVar("Job")


class Waiting:
    """What may be asked.

    Attributes:
        first: places of the queries that were never asked for.
        refills: attempt and place of other attempts at queries.
        again: texts of which another attempt is due.
        ungraded: attempts, by which grader they are to be seen, and how often they were.
        ready: texts that are due for the first time.
    """

    def __init__(self) -> None:
        self.first: Iterator[int] = iter(())
        self.refills: list[tuple[int, int]] = []
        self.again: deque[Due] = deque()
        self.ungraded: deque[tuple[Attempt, int, int]] = deque()
        self.ready: deque[Due] = deque()
        self._turn_of_ready = False

    def refill(self, attempt: int, index: int) -> None:
        """Has another attempt at a query be asked."""
        heapq.heappush(self.refills, (attempt, index))

    def take(
        self,
        ask_query: Callable[[int, int], Job],
        ask_grader: Callable[[Attempt, int, int], Job],
        ask_due: Callable[[Due], Job],
    ) -> Job | None:
        """What is to be asked next, as a job; None while there is nothing."""
        if self.refills:
            attempt, index = heapq.heappop(self.refills)
            return ask_query(index, attempt)
        if self.ungraded:
            return ask_grader(*self.ungraded.popleft())
        if self.again:
            return ask_due(self.again.popleft())
        if not (self._turn_of_ready and self.ready):
            index = next(self.first, -1)
            if index >= 0:
                self._turn_of_ready = True
                return ask_query(index, 0)
        if self.ready:
            self._turn_of_ready = False
            return ask_due(self.ready.popleft())
        return None
