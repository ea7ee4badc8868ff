"""The gate before packing: a run is paused in Prefect until people have reviewed enough of it."""

import logging
import time
from pathlib import Path
from uuid import UUID, uuid4

from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus
from prefect.states import Paused

from corpus.errors import SympatheiaError
from corpus.review.coverage import CellCoverage, coverage
from corpus.review.verdicts import struck_in_review
from flows.artifacts import as_far_as_prefect_listens, leave_coverage
from flows.orders import Resolved
from flows.work import Work
from schemas.orders import ReviewFirst

LOOK_EVERY_SECONDS = 5.0
"""How often a paused run asks whether it was resumed; people take minutes."""
SECONDS_PER_DAY = 86_400.0

log = logging.getLogger(__name__)


def is_reviewed(asked: ReviewFirst, work: Work) -> bool:
    """Whether people have reviewed enough of a run, and struck nothing since it was opened."""
    folder = work.run.folder
    if any(cell.lacking for cell in coverage(folder, asked.required)):
        return False
    return struck_in_review(folder) == work.run.in_review


def await_review(asked: ReviewFirst, order: Resolved) -> None:
    """Pauses the run, and returns when it is worth while to go on and look again.

    That is when enough was reviewed, and the run has resumed itself, or when someone resumed it by
    hand. Resumed by hand, it is not let through: the run makes again what was struck until then,
    and is paused anew if people have still too much to review. The run's folder is nobody's
    meanwhile.

    Raises:
        SympatheiaError: the run is not to wait, nobody came in time, or it was ended in Prefect.
    """
    folder = order.folder
    cells = coverage(folder, asked.required)
    if not any(cell.lacking for cell in cells):
        if asked.wait:
            return  # something was struck, and is to be made again
        raise SympatheiaError(
            f"Something of {folder.root} was struck while it was built. Run the same command again "
            "to have it made anew."
        )
    told = _told(cells, folder.root)
    if not asked.wait:
        raise SympatheiaError(f"{told} Then run the same command again; everything made is kept.")
    if page := leave_coverage(order.blueprint.recipe.name, told, cells):
        told = f"{told} What each cell lacks: {page}"
    log.warning("%s The run waits until then.", told)
    with get_client(sync_client=True) as client:
        _pause(client, told, asked.days * SECONDS_PER_DAY)
        _wait(client, asked, order)


def _told(cells: list[CellCoverage], root: Path) -> str:
    reviewed, pairs = sum(cell.reviewed for cell in cells), sum(cell.pairs for cell in cells)
    lacking = [cell for cell in cells if cell.lacking]
    return (
        f"{reviewed:,} of {pairs:,} pairs are reviewed; {len(lacking)} cells need more, "
        f"{lacking[0].cell} for one {lacking[0].lacking}. Review them with 'sympatheia review "
        f"{root} --per-cell {max(cell.wanted for cell in cells)}'."
    )


def _pause(client: SyncPrefectClient, told: str, seconds: float) -> None:
    # A key of its own, or Prefect takes it for a pause that was before.
    paused: State[None] = Paused(
        message=told, timeout_seconds=round(seconds), pause_key=uuid4().hex
    )
    answer = client.set_flow_run_state(_run_id(), paused)
    if answer.status != SetStateStatus.ACCEPT:
        raise SympatheiaError(f"{told} Prefect does not let the run wait for it: {answer.details}.")


def _wait(client: SyncPrefectClient, asked: ReviewFirst, order: Resolved) -> None:
    until = time.monotonic() + asked.days * SECONDS_PER_DAY
    too_little = 0
    while True:
        with as_far_as_prefect_listens():
            state = client.read_flow_run(_run_id()).state
            if state is None or state.is_running():
                return
            if not state.is_paused():
                raise SympatheiaError(f"The run was ended while it waited: {state.name}.")
            size = _size(order.folder.reviews)
            if size != too_little:  # which for most looks it is not, and all pairs are counted
                if any(cell.lacking for cell in coverage(order.folder, asked.required)):
                    too_little = size
                elif client.resume_flow_run(_run_id()).status == SetStateStatus.ACCEPT:
                    continue
        if time.monotonic() > until:
            raise SympatheiaError(
                f"Nobody has reviewed enough of {order.folder.root} in {asked.days:g} days. Start "
                "the same run again to go on waiting; everything made is kept."
            )
        time.sleep(LOOK_EVERY_SECONDS)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _run_id() -> UUID:
    return UUID(runtime.flow_run.id)
