"""Puts execution-workers together and serves: `python -m execution_workers.main`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, closing
from functools import partial

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from execution_workers.api import Workers, routes
from execution_workers.checks import Checks
from execution_workers.effects import Effects
from execution_workers.gitops import GitOpsVerification
from execution_workers.ledger.errors import count_outages
from execution_workers.ledger.housekeeping import ledger_chore
from execution_workers.ledger.ledger import Ledger, new_engine
from execution_workers.ports import GitOpsAgent
from execution_workers.providers.forges.folders import remove_left_folders
from execution_workers.providers.limits import LimitMetrics
from execution_workers.providers.registry import (
    CREDENTIAL_ISSUERS,
    Surroundings,
    git_forge,
    gitops_agent,
    secret_store,
)
from execution_workers.rotation import RotationParties
from execution_workers.run_tokens import RunTokens
from execution_workers.settings import ExecutionWorkersSettings
from idp_kernel.clock import Clock, SystemClock
from idp_kernel.housekeeping import Housekeeper
from idp_kernel.http.client import ServiceClient
from idp_kernel.http.server import new_server
from idp_kernel.http.serving import serve
from idp_kernel.services import ServiceName
from idp_kernel.settings import read_settings
from idp_kernel.telemetry.export import configure_traces
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.telemetry.metrics import (
    count_downstream_error,
    downstream_errors,
)

_log = structlog.get_logger(__name__)

DESCRIPTION = "Performs one step's side effects per call, each once, and takes them back."


def main() -> None:
    """Serve until a signal ends it."""
    settings = read_settings(ExecutionWorkersSettings)
    configure_logs(ServiceName.EXECUTION_WORKERS, settings.log_level)
    traces = configure_traces(
        ServiceName.EXECUTION_WORKERS,
        settings.otlp_endpoint,
        ratio=settings.trace_ratio,
        env=settings.env,
    )
    try:
        serve(create_app(settings), host=settings.host, port=settings.port)
    finally:
        traces.shutdown()


def create_app(settings: ExecutionWorkersSettings) -> FastAPI:
    """The service; connects to nobody yet."""
    registry, resources, clock = CollectorRegistry(), ExitStack(), SystemClock()
    errors = downstream_errors(registry)
    engine = _engine(settings, resources, errors)
    workers = _workers(settings, registry, errors, resources, engine, clock)
    housekeeper = Housekeeper(
        [ledger_chore(engine, clock, settings.keep_ledger_for)],
        registry,
        every_seconds=settings.housekeeping_seconds,
    )
    app = new_server(
        service=ServiceName.EXECUTION_WORKERS,
        env=settings.env,
        registry=registry,
        is_ready=workers.ledger.check_ready,
        description=DESCRIPTION,
        lifespan=_running(housekeeper, resources),
    )
    app.include_router(routes(workers))
    return app


def _workers(
    settings: ExecutionWorkersSettings,
    registry: CollectorRegistry,
    errors: Counter,
    resources: ExitStack,
    engine: Engine,
    clock: Clock,
) -> Workers:
    surroundings = Surroundings(settings, clock, errors, LimitMetrics(registry), resources)
    agent = gitops_agent(surroundings)
    ledger = Ledger(engine, clock, max_calls=settings.max_calls)
    rotation = _rotation(surroundings, agent)
    checks = Checks(
        rotation.forge,
        rotation.store,
        rotation.issuers,
        agent,
        clock,
        installation_id=settings.installation_id,
    )
    return Workers(
        tokens=RunTokens(_control_plane(settings, resources, errors), clock),
        ledger=ledger,
        effects=Effects(ledger, settings.installation_id, registry),
        forge=rotation.forge,
        rotation=rotation,
        verification=rotation.verification,
        checks=resources.enter_context(closing(checks)),
        drain_wait_seconds=settings.drain_wait_seconds,
    )


def _rotation(surroundings: Surroundings, agent: GitOpsAgent) -> RotationParties:
    settings = surroundings.settings
    forge = git_forge(surroundings)
    return RotationParties(
        installation_id=settings.installation_id,
        forge=forge,
        store=secret_store(surroundings),
        issuers={name: make(surroundings) for name, make in CREDENTIAL_ISSUERS.items()},
        verification=GitOpsVerification(
            agent, forge, surroundings.clock, settle_seconds=settings.settle_seconds
        ),
    )


def _engine(settings: ExecutionWorkersSettings, resources: ExitStack, errors: Counter) -> Engine:
    engine = new_engine(
        settings.database_url,
        max_calls=settings.max_calls,
        item_wait_seconds=settings.item_wait_seconds,
    )
    count_outages(engine, errors)
    resources.callback(engine.dispose)
    return engine


def _control_plane(
    settings: ExecutionWorkersSettings, resources: ExitStack, errors: Counter
) -> ServiceClient:
    """Asked for its keys only, which are public."""
    party = ServiceName.CONTROL_PLANE_API
    client = ServiceClient(
        settings.control_plane_url,
        party=party,
        user_agent=ServiceName.EXECUTION_WORKERS,
        on_error=partial(count_downstream_error, errors, party),
        timeout_seconds=settings.call_timeout_seconds,
    )
    return resources.enter_context(closing(client))


def _running(
    housekeeper: Housekeeper, resources: ExitStack
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if left := await run_in_threadpool(remove_left_folders):
            _log.info("left_copies_removed", folders=left)
        housekeeper.start()
        yield
        await run_in_threadpool(housekeeper.stop)
        resources.close()

    return lifespan


if __name__ == "__main__":
    main()
