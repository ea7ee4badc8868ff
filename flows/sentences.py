"""Has Prefect's pages tell an error as the command line does: in its own sentence, and no trace."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from prefect.context import FlowRunContext
from prefect.states import Failed

from corpus.errors import SympatheiaError, in_words
from flows.surroundings import still_stoppable

P = ParamSpec("P")
R = TypeVar("R")


def fails_in_words(work: Callable[P, R]) -> Callable[P, R]:
    """Has a flow fail with the sentence of its error; to be put between `@flow` and the function.

    Who calls the flow has the error itself raised, as ever.
    """

    @wraps(work)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with still_stoppable():
                return work(*args, **kwargs)
        except (SympatheiaError, OSError) as error:
            found = FlowRunContext.get()
            run = found and found.flow_run
            if run and run.run_count <= (run.empirical_policy.retries or 0):
                raise  # what Prefect retries by itself, if that is set, is what is raised
            # What is raised, Prefect tells by its class and with a preface. A state it takes as it
            # is, and raises the error that is in it.
            return cast(R, Failed(message=in_words(error), data=error))

    return told


class _WithoutTrace(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], SympatheiaError | OSError):
            record.exc_info = None
        return True


for name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(name).addFilter(_WithoutTrace())
