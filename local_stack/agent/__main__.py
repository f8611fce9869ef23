"""Starts the agent in the foreground: `python -m local_stack.agent`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.concurrency import run_in_threadpool

from idp_kernel.clock import SystemClock
from idp_kernel.errors import Unavailable
from idp_kernel.http.client import ServiceClient
from idp_kernel.http.server import new_server
from idp_kernel.http.serving import serve
from idp_kernel.services import LOOPBACK, ServiceName
from idp_kernel.settings import read_settings
from idp_kernel.telemetry.export import JOIN_ONLY, configure_traces
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.wire.forge import REPOSITORIES, ForgeRepositories
from local_stack.agent.api import agent_routes
from local_stack.agent.loop import ReconciliationLoop
from local_stack.agent.mirrors import GIT_CONFIGURATION, Mirrors
from local_stack.agent.reconciler import Reconciler
from local_stack.agent.reconciliations import Reconciliations
from local_stack.agent.settings import AgentSettings
from local_stack.git import Git
from local_stack.listings import Listing
from local_stack.secret_files import read_token

LISTING_TIMEOUT_SECONDS = 10.0
DESCRIPTION = "What the local GitOps agent saw of each application environment's repository."


def main() -> None:
    """Reconcile and serve until a signal ends it."""
    settings = read_settings(AgentSettings)
    configure_logs(ServiceName.LOCAL_GITOPS_AGENT, settings.log_level)
    traces = configure_traces(
        ServiceName.LOCAL_GITOPS_AGENT, settings.otlp_endpoint, ratio=JOIN_ONLY, env=settings.env
    )
    try:
        serve(create_app(settings), host=LOOPBACK, port=settings.port)
    finally:
        traces.shutdown()


def create_app(settings: AgentSettings) -> FastAPI:
    """The agent, put together; its loop runs while the application does."""
    data_dir = settings.data_dir.absolute()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    forge_token = read_token(settings.forge_token_file)
    forge = ServiceClient(
        settings.forge_url,
        party=ServiceName.LOCAL_FORGE,
        authorization=lambda: forge_token,
        timeout_seconds=LISTING_TIMEOUT_SECONDS,
        user_agent=ServiceName.LOCAL_GITOPS_AGENT,
    )
    mirrors = Mirrors(
        data_dir, Git(GIT_CONFIGURATION), forge_url=settings.forge_url, forge_token=forge_token
    )
    reconciliations = Reconciliations(data_dir)
    loop = ReconciliationLoop(
        list_repositories=Listing(forge, REPOSITORIES, ForgeRepositories).ask,
        reconciler=Reconciler(mirrors, reconciliations, SystemClock()),
        reconciliations=reconciliations,
        interval_seconds=settings.interval_seconds,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        loop.start()
        try:
            yield
        finally:
            await run_in_threadpool(loop.stop)
            forge.close()

    def is_ready() -> None:
        if not loop.is_alive():
            raise Unavailable("The reconciliation loop is not running.", code="loop_stopped")

    app = new_server(
        service=ServiceName.LOCAL_GITOPS_AGENT,
        env=settings.env,
        registry=CollectorRegistry(),
        is_ready=is_ready,
        description=DESCRIPTION,
        lifespan=lifespan,
    )
    app.include_router(agent_routes(reconciliations, read_token(settings.reader_token_file)))
    return app


if __name__ == "__main__":
    main()
