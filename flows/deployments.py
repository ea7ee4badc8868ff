"""Registers the flows with a Prefect server, for workers on any machine to run.

A deployment names the flow by its module, so it holds no code and no path of a machine: what runs
is the package that the worker has installed.
"""

import inspect
import os
import time
from typing import TYPE_CHECKING, Any

import click

from corpus.errors import InvalidInput, SympatheiaError
from flows.services.child import READY_SECONDS
from schemas.names import DEPLOYMENT

if TYPE_CHECKING:  # imported where it is used, so that help and refusals come at once
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient

PROCESS = "process"
WAIT_SECONDS = 0.5


def register(pool: str, gpu_pool: str) -> None:
    """Registers every flow with the Prefect server at PREFECT_API_URL, which is waited for.

    Args:
        pool: the work pool that runs them.
        gpu_pool: the one that runs the adapter: its training and its responses.

    Raises:
        InvalidInput: no server is named.
        SympatheiaError: none answers there.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise InvalidInput(
            "There is no Prefect server to register with. 'make server' starts one; set "
            "PREFECT_API_URL, to http://127.0.0.1:4200/api for that one."
        )
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from prefect.client.orchestration import get_client

    from flows.adapter import answer_queries, publish_adapter, train_adapter
    from flows.corpus import build_corpus
    from flows.evaluation import evaluate_systems
    from flows.publish import publish_dataset

    pools: dict[Flow[..., Any], str] = {
        build_corpus: pool,
        publish_dataset: pool,
        train_adapter: gpu_pool,
        answer_queries: gpu_pool,
        evaluate_systems: pool,
        publish_adapter: pool,
    }
    with get_client(sync_client=True) as client:
        _wait_for(client)
        kinds = {name: _kind_of_pool(client, name) for name in pools.values()}
        for flow, name in pools.items():
            _register(client, flow, name, kinds[name])
            click.echo(f"{flow.name}/{DEPLOYMENT} runs in the work pool {name}", err=True)


def _wait_for(client: "SyncPrefectClient") -> None:
    deadline = time.monotonic() + READY_SECONDS
    if (trouble := client.api_healthcheck()) is None:
        return
    click.echo(f"Waiting for the Prefect server at {client.api_url}", err=True)
    while (trouble := client.api_healthcheck()) is not None:
        if time.monotonic() > deadline:
            raise SympatheiaError(
                f"No Prefect server answers at {client.api_url} ({trouble}). Start it, or correct "
                "PREFECT_API_URL, and run the same command again."
            )
        time.sleep(WAIT_SECONDS)


def _kind_of_pool(client: "SyncPrefectClient", name: str) -> str:
    """The type of a work pool, which is made if it is not there."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type=PROCESS, base_job_template=template))
    except ObjectAlreadyExists:
        return client.read_work_pool(name).type
    return PROCESS


def _register(client: "SyncPrefectClient", flow: "Flow[..., Any]", pool: str, kind: str) -> None:
    """Registers a flow; schedules and limits of a deployment that is there stay as they are."""
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.exceptions import ObjectNotFound
    from prefect.utilities.callables import parameter_schema

    settings: dict[str, Any] = {
        "description": (inspect.getdoc(flow.fn) or "").partition("\n\nArgs:")[0],
        "tags": [DEPLOYMENT, flow.name],
        "entrypoint": f"{flow.fn.__module__}.{flow.fn.__name__}",
        "work_pool_name": pool,
        "enforce_parameter_schema": True,
        # Prefect by itself takes any other parameter too, and the run dies of it.
        "parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi()
        | {"additionalProperties": False},
    }
    if kind == PROCESS:
        # Else a process begins in a folder that is removed behind it. This is the folder that the
        # worker was started in, and what relative paths of an order are taken from.
        settings["job_variables"] = {"working_dir": "."}
    try:
        found = client.read_deployment_by_name(f"{flow.name}/{DEPLOYMENT}")
    except ObjectNotFound:
        client.create_deployment(client.create_flow(flow), DEPLOYMENT, **settings)
    else:
        client.update_deployment(found.id, DeploymentUpdate(**settings))
