"""Starts the consumer in the foreground: `python -m local_stack.consumer`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
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
from idp_kernel.telemetry.metrics import LOCAL_CONSUMER_LOGINS
from idp_kernel.wire.agent import RECONCILIATIONS, Reconciliations
from local_stack.consumer.api import consumer_routes
from local_stack.consumer.bindings import BindingKey
from local_stack.consumer.loop import ConsumptionLoop
from local_stack.consumer.sessions import Session
from local_stack.consumer.settings import ConsumerSettings
from local_stack.consumer.store import SecretStore
from local_stack.consumer.usage import LoginResult, LoginUsage, Pace
from local_stack.listings import Listing
from local_stack.secret_files import read_token

LISTING_TIMEOUT_SECONDS = 5.0
DESCRIPTION = "How the logins go that bindings bring to the applications of the local stack."


def main() -> None:
    """Consume and serve until a signal ends it."""
    settings = read_settings(ConsumerSettings)
    configure_logs(ServiceName.LOCAL_CONSUMER, settings.log_level)
    traces = configure_traces(
        ServiceName.LOCAL_CONSUMER, settings.otlp_endpoint, ratio=JOIN_ONLY, env=settings.env
    )
    try:
        serve(create_app(settings), host=LOOPBACK, port=settings.port)
    finally:
        traces.shutdown()


def create_app(settings: ConsumerSettings) -> FastAPI:
    """The consumer, put together; its loop runs while the application does."""
    agent_token = read_token(settings.agent_token_file)
    agent = ServiceClient(
        settings.agent_url,
        party=ServiceName.LOCAL_GITOPS_AGENT,
        authorization=lambda: agent_token,
        timeout_seconds=LISTING_TIMEOUT_SECONDS,
        user_agent=ServiceName.LOCAL_CONSUMER,
    )
    store = SecretStore(settings.openbao_url, settings.openbao_approle_file)
    registry = CollectorRegistry()
    loop = ConsumptionLoop(
        list_reconciliations=Listing(agent, RECONCILIATIONS, Reconciliations).ask,
        logins=store,
        new_usage=_usages(settings, registry),
        interval_seconds=settings.look_interval_seconds,
        most_bindings=settings.most_bindings,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        loop.start()
        try:
            yield
        finally:
            await run_in_threadpool(loop.stop)
            store.close()
            agent.close()

    def is_ready() -> None:
        if not loop.is_alive():
            raise Unavailable("The consumption loop is not running.", code="loop_stopped")

    app = new_server(
        service=ServiceName.LOCAL_CONSUMER,
        env=settings.env,
        registry=registry,
        is_ready=is_ready,
        description=DESCRIPTION,
        lifespan=lifespan,
    )
    reader_token = read_token(settings.reader_token_file)
    app.include_router(consumer_routes(loop.consumption, reader_token))
    return app


def _usages(
    settings: ConsumerSettings, registry: CollectorRegistry
) -> Callable[[BindingKey], LoginUsage]:
    logins = LOCAL_CONSUMER_LOGINS.counter(registry)
    for result in LoginResult:
        logins.labels(result)

    pace = Pace(settings.logins_per_second)

    def new_usage(binding: BindingKey) -> LoginUsage:
        return LoginUsage(
            binding,
            log_in=Session,
            count_login=lambda result: logins.labels(result).inc(),
            clock=SystemClock(),
            pace=pace,
        )

    return new_usage


if __name__ == "__main__":
    main()
