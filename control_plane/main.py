"""The composition root of `control-plane-api`: `python -m control_plane.main`."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping
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
from control_plane.adapters.database import count_outages, new_engine
from control_plane.adapters.housekeeping import chores
from control_plane.adapters.journal import (
    EVENTS_CHANNEL,
    LOST_RUNS_CHANNEL,
    OFFERS_CHANNEL,
    REQUESTS_CHANNEL,
    ROTATION_CAUSES_CHANNEL,
)
from control_plane.adapters.listener import Listener, each_of
from control_plane.adapters.queries import SqlQueries
from control_plane.adapters.schema import check_migrated
from control_plane.adapters.sweeper import Sweeper
from control_plane.adapters.work import beginner
from control_plane.api.app import create_app
from control_plane.api.feed import Feed
from control_plane.api.rate_limits import RateLimits
from control_plane.api.services import SecretStore, Services
from control_plane.api.wakeups import Wakeups
from control_plane.application.access import Caller, still_let_in
from control_plane.application.offer_requests import OfferPolicy
from control_plane.application.ports import Begin
from control_plane.application.service_tokens import ServiceKeys
from control_plane.settings import ControlPlaneSettings
from idp_kernel.clock import Clock, SystemClock
from idp_kernel.housekeeping import Housekeeper
from idp_kernel.http.serving import serving
from idp_kernel.services import SERVICE_SCOPES, ServiceName
from idp_kernel.settings import read_settings
from idp_kernel.telemetry.export import configure_traces
from idp_kernel.telemetry.logs import configure_logs
from idp_kernel.telemetry.metrics import downstream_errors
from idp_kernel.tokens import SigningKey, public_key_set

UNTAKEN_WITHIN_SECONDS = 30
"""A connection whose other end takes nothing of what was sent for so long is closed."""


def main() -> None:
    """Serve until SIGTERM."""
    settings = read_settings(ControlPlaneSettings)
    configure_logs(ServiceName.CONTROL_PLANE_API, settings.log_level)
    traces = configure_traces(
        ServiceName.CONTROL_PLANE_API,
        settings.otlp_endpoint,
        ratio=settings.trace_ratio,
        env=settings.env,
    )
    # Uvicorn ends gracefully, then raises the signal again for whoever was to handle it: us.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda _signal, _frame: sys.exit(0))
    try:
        Server(build_app(settings), settings).run()
    finally:
        traces.shutdown()


class Server(uvicorn.Server):
    """Uvicorn that answers waiting offers, and ends streams, at once when it is asked to end."""

    def __init__(self, app: FastAPI, settings: ControlPlaneSettings) -> None:
        super().__init__(
            serving(
                app,
                host=settings.host,
                port=settings.port,
                stop_within_seconds=settings.stop_within_seconds,
            )
        )
        self._services: Services = app.state.services

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Connections inherit from the listening socket what the system does when nobody reads:
        uvicorn itself waits for ever to send the rest.
        """
        await super().startup(sockets)
        for server in self.servers if hasattr(socket, "TCP_USER_TIMEOUT") else ():
            for listening in server.sockets:
                with socket.fromfd(listening.fileno(), listening.family, listening.type) as same:
                    same.setsockopt(
                        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNTAKEN_WITHIN_SECONDS * 1000
                    )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._services.wakeups.close()
        self._services.lost_run_wakeups.close()
        self._services.cause_wakeups.close()
        self._services.feed.close()
        super().handle_exit(sig, frame)


def build_app(settings: ControlPlaneSettings, clock: Clock | None = None) -> FastAPI:
    """The application with its background threads, on the database that the settings name."""
    engine, clock = new_engine(settings.database_url), clock or SystemClock()
    services = build_services(settings, engine, clock)
    sweeper = Sweeper(
        engine=engine,
        begin=services.begin,
        policy=services.attempts,
        rotations_at_once=services.rotations_at_once,
        interval_seconds=settings.sweep_seconds,
    )
    listener = Listener(
        engine,
        {
            OFFERS_CHANNEL: lambda _told: services.wakeups.wake(),
            LOST_RUNS_CHANNEL: lambda _told: services.lost_run_wakeups.wake(),
            ROTATION_CAUSES_CHANNEL: lambda _told: services.cause_wakeups.wake(),
            EVENTS_CHANNEL: services.feed.hear_of_events,
            REQUESTS_CHANNEL: each_of(services.feed.hear_of_request, sweeper.hear_of_request),
        },
    )
    registry = CollectorRegistry()
    count_outages(engine, downstream_errors(registry))
    housekeeper = build_housekeeper(settings, engine, clock, registry)
    return create_app(
        services,
        env=settings.env,
        registry=registry,
        is_ready=lambda: check_migrated(engine),
        body_seconds=settings.body_seconds,
        lifespan=_running(engine, sweeper, housekeeper, listener, services.feed),
    )


def build_services(settings: ControlPlaneSettings, engine: Engine, clock: Clock) -> Services:
    """Everything behind the routes, on real adapters."""
    begin = beginner(engine, clock, settings.default_limits)
    queries = SqlQueries(engine, clock, settings.default_limits)
    return Services(
        begin=begin,
        queries=queries,
        clock=clock,
        signing_key=SigningKey.read(settings.signing_key_file),
        service_keys=read_service_keys(settings.service_keys_file),
        attempts=settings.attempts,
        offers=OfferPolicy(settings.offer_again_after),
        rotations_at_once=settings.max_rotations_at_once,
        secret_store=_secret_store(settings),
        wakeups=Wakeups(),
        lost_run_wakeups=Wakeups(),
        cause_wakeups=Wakeups(),
        feed=Feed(queries, _access(begin)),
        rates=RateLimits(settings.rate),
        new_token=new_bearer_token,
        hash_token=hash_bearer_token,
    )


def _secret_store(settings: ControlPlaneSettings) -> SecretStore:
    file = settings.secret_store_ca_file
    authorities = None if file is None else file.read_text(encoding="ascii", errors="ignore")
    return SecretStore(settings.secret_store_url, settings.secret_store_namespace, authorities)


def build_housekeeper(
    settings: ControlPlaneSettings, engine: Engine, clock: Clock, registry: CollectorRegistry
) -> Housekeeper:
    """Deletes what the control plane need not keep."""
    return Housekeeper(
        chores(engine, clock, settings.retention),
        registry,
        every_seconds=settings.housekeeping_seconds,
    )


def _access(begin: Begin) -> Callable[[Collection[str]], Mapping[str, Caller]]:
    def callers(token_ids: Collection[str]) -> Mapping[str, Caller]:
        with begin() as work:
            return still_let_in(work, token_ids)

    return callers


def read_service_keys(path: Path) -> ServiceKeys:
    """The services' public keys, each alone with the service that its `kid` names."""
    keys = public_key_set(path.read_text()).keys
    known = {key.kid: KeySet([key]) for key in keys}
    return ServiceKeys({name: known[name] for name in SERVICE_SCOPES if name in known})


def _running(
    engine: Engine, sweeper: Sweeper, housekeeper: Housekeeper, listener: Listener, feed: Feed
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        feed.start()
        listener.start()
        sweeper.start()
        housekeeper.start()
        yield
        await run_in_threadpool(housekeeper.stop)
        await run_in_threadpool(listener.stop)
        await run_in_threadpool(feed.stop)
        await run_in_threadpool(sweeper.stop)
        engine.dispose()

    return lifespan


if __name__ == "__main__":
    main()
