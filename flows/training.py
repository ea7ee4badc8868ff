"""Starts what is to follow, a training or its responses, as a run of a deployment."""

from pathlib import Path

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from corpus.errors import InvalidInput
from schemas.orders import (
    ADAPTER_DEPLOYMENT,
    RESPONSES_DEPLOYMENT,
    AdapterOrder,
    ResponsesAfter,
    ResponsesOrder,
    TrainingAfter,
)


def require_deployment(name: str) -> None:
    """Passes if there is such a deployment: a corpus takes days, and then is too late to know.

    Raises:
        InvalidInput: there is none.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(name)
        except ObjectNotFound:
            raise InvalidInput(
                f"There is no deployment '{name}' for what is to follow. 'sympatheia deploy' "
                f"registers {ADAPTER_DEPLOYMENT} and {RESPONSES_DEPLOYMENT}; name one of them, or "
                "one of your own, as the deployment of then_train or then_respond."
            ) from None


def start_training(asked: TrainingAfter, run_dir: Path) -> None:
    """Has a training run on a corpus, and does not wait for it; a retry starts no second one."""
    settings = asked.model_dump(mode="json", exclude={"deployment"})
    order = AdapterOrder(**settings, run_dir=run_dir.resolve())
    _start(asked.deployment, order, "training")


def start_responses(asked: ResponsesAfter, run_dir: Path, adapter: Path) -> None:
    """Has an adapter answer the queries of its corpus, and does not wait for it."""
    settings = asked.model_dump(mode="json", exclude={"deployment", "output"})
    run = run_dir.resolve()
    order = ResponsesOrder(
        **settings,
        corpus=run,
        output=(asked.output or run / "responses").resolve(),
        adapter=str(adapter.resolve()),
    )
    _start(asked.deployment, order, "responses")


def _start(deployment: str, order: AdapterOrder | ResponsesOrder, what: str) -> None:
    run_deployment(
        deployment,
        parameters={"order": order.model_dump(mode="json")},
        timeout=0,
        idempotency_key=f"{what} after {runtime.flow_run.id}",
        as_subflow=False,
    )
