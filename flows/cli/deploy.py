"""`deploy`: the flows, registered with a Prefect server."""

import click

from schemas.names import DEPLOYMENT


@click.command()
@click.option("--pool", default=DEPLOYMENT, show_default=True, help="The work pool that runs them.")
@click.option(
    "--gpu-pool",
    help="The work pool that runs the adapter's training; that of --pool if not given.",
)
def deploy(pool: str, gpu_pool: str | None) -> None:
    """Register the flows with the Prefect server at PREFECT_API_URL, which is waited for.

    A work pool that is not there is made, for workers that start processes.
    """
    from flows.deployments import register

    register(pool, gpu_pool or pool)
