"""Starts the training of an adapter as a run of a deployment, wherever its work pool is."""

from pathlib import Path

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from corpus.errors import InvalidInput
from schemas.orders import ADAPTER_DEPLOYMENT, AdapterOrder, TrainingAfter


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
                f"There is no deployment '{name}' for the training that is to follow. 'sympatheia "
                f"deploy' registers {ADAPTER_DEPLOYMENT}; name that, or one of your own, in "
                "then_train.deployment."
            ) from None


def start_training(asked: TrainingAfter, run_dir: Path) -> None:
    """Has a training run on a corpus, and does not wait for it; a retry starts no second one."""
    settings = asked.model_dump(mode="json", exclude={"deployment"})
    order = AdapterOrder(**settings, run_dir=run_dir.resolve())
    run_deployment(
        asked.deployment,
        parameters={"order": order.model_dump(mode="json")},
        timeout=0,
        idempotency_key=f"training after {runtime.flow_run.id}",
        as_subflow=False,
    )
