"""The composition root of `control-plane-api`: `python -m control_plane.main`."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from joserfc.jwk import KeySet
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from control_plane.adapters.bearer_tokens import hash_bearer_token, new_bearer_token
from control_plane.adapters.database import new_engine
from control_plane.adapters.listener import OffersListener
from control_plane.adapters.queries import SqlQueries
from control_plane.adapters.schema import check_migrated
from control_plane.adapters.sweeper import Sweeper
from control_plane.adapters.work import beginner
from control_plane.api.app import create_app
from control_plane.api.services import SecretStore, Services
from control_plane.api.wakeups import Wakeups
from control_plane.application.offer_requests import OfferPolicy
from control_plane.application.service_tokens import ServiceKeys
from control_plane.domain.requests import AttemptPolicy
from control_plane.settings import ControlPlaneSettings
from idp_kernel.clock import Clock, SystemClock
from idp_kernel.services import SERVICE_SCOPES, ServiceName
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.telemetry.traces import configure_traces
from idp_kernel.tokens import SigningKey, public_key_set

STOP_WITHIN_SECONDS = 5


def main() -> None:
    """Serve until SIGTERM."""
    settings = ControlPlaneSettings()
    configure_logs(ServiceName.CONTROL_PLANE_API, settings.log_level)
    traces = configure_traces(ServiceName.CONTROL_PLANE_API, settings.otlp_endpoint)
    # Uvicorn ends gracefully, then raises the signal again for whoever was to handle it: us.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda _signal, _frame: sys.exit(0))
    try:
        Server(build_app(settings), settings.host, settings.port).run()
    finally:
        traces.shutdown()


class Server(uvicorn.Server):
    """Uvicorn that answers waiting offers at once when it is asked to end."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=STOP_WITHIN_SECONDS,
        )
        super().__init__(config)
        self._wakeups: Wakeups = app.state.services.wakeups

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._wakeups.close()
        super().handle_exit(sig, frame)


def build_app(settings: ControlPlaneSettings, clock: Clock | None = None) -> FastAPI:
    """The application with its background threads, on the database that the settings name."""
    engine, clock = new_engine(settings.database_url), clock or SystemClock()
    services = build_services(settings, engine, clock)
    sweeper = Sweeper(
        engine=engine,
        begin=services.begin,
        clock=clock,
        policy=services.attempts,
        rotations_at_once=services.rotations_at_once,
        interval_seconds=settings.sweep_seconds,
    )
    listener = OffersListener(engine, services.wakeups.wake)
    return create_app(
        services,
        env=settings.env,
        registry=CollectorRegistry(),
        is_ready=lambda: check_migrated(engine),
        lifespan=_running(engine, sweeper, listener),
    )


def build_services(settings: ControlPlaneSettings, engine: Engine, clock: Clock) -> Services:
    """Everything behind the routes, on real adapters."""
    return Services(
        begin=beginner(engine, clock),
        queries=SqlQueries(engine, clock),
        clock=clock,
        signing_key=SigningKey.read(settings.signing_key_file),
        service_keys=read_service_keys(settings.service_keys_file),
        attempts=AttemptPolicy(settings.lease, settings.max_attempts),
        offers=OfferPolicy(settings.offer_again_after),
        rotations_at_once=settings.max_rotations_at_once,
        secret_store=SecretStore(settings.secret_store_url, settings.secret_store_mount),
        wakeups=Wakeups(),
        new_token=new_bearer_token,
        hash_token=hash_bearer_token,
    )


def read_service_keys(path: Path) -> ServiceKeys:
    """The services' public keys, each alone with the service that its `kid` names."""
    keys = public_key_set(path.read_text()).keys
    known = {key.kid: KeySet([key]) for key in keys}
    return ServiceKeys({name: known[name] for name in SERVICE_SCOPES if name in known})


def _running(
    engine: Engine, sweeper: Sweeper, listener: OffersListener
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        listener.start()
        sweeper.start()
        yield
        await run_in_threadpool(listener.stop)
        await run_in_threadpool(sweeper.stop)
        engine.dispose()

    return lifespan


if __name__ == "__main__":
    main()
